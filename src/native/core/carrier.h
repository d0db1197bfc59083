// SPDX-License-Identifier: Apache-2.0
// Carries the verdicts of a batch out: counts each, gathers what is to leave by port and sends it
// in bursts. The worker's thread.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/batch_storage.h"
#include "core/port.h"
#include "core/worker_counters.h"

namespace wp {

class Carrier {
 public:
  // A port as the worker has it.
  struct End {
    std::vector<uint32_t> queues;  // that are this worker's
    int host = -1;                 // number of the port that PASS goes to; -1 = none
    int network = -1;              // of a host port: the port that its frames leave by
  };

  explicit Carrier(uint32_t batch_size)
      : outbound_(batch_size), way_(batch_size), frame_(batch_size) {}

  // Control thread, before the first burst. Ports and ends, which belong together by their places,
  // stay as they are until the last one.
  void begin(std::span<const std::shared_ptr<Port>> ports, const std::vector<End>& ends,
             Counter* counters);

  // `held`: a stage releases what it left with WP_KEEP. Afterwards every frame that still has its
  // handle is to be released, but for those.
  void carry_out(uint16_t source, uint32_t queue, wp_batch& batch, bool held) noexcept;
  // Of a host port: all of it leaves by the port that it stands for.
  void from_host(uint16_t source, uint32_t queue, wp_batch& batch) noexcept;

 private:
  struct Way {
    Port* port;
    const std::vector<uint32_t>* queues;
    const void* memory;
    int host, network;
    bool tx, pass;
  };

  static constexpr uint16_t kNowhere = UINT16_MAX;

  void send_back(uint16_t source, uint32_t queue, wp_batch& batch, uint32_t frames) noexcept;
  void send_whole(uint16_t source, uint16_t target, uint32_t queue, wp_batch& batch) noexcept;
  void send_gathered(uint16_t source, uint16_t target, uint32_t queue, wp_batch& batch) noexcept;
  void gather(const Way& from, wp_batch& batch) noexcept;
  void send_sorted(uint16_t source, uint32_t queue, wp_batch& batch, const uint16_t* way) noexcept;
  void count_way(uint16_t target) noexcept {
    if (frames_[target]++ == 0) targets_.push_back(target);
  }
  // A frame that leaves by the port that it came from belongs to that very queue.
  uint32_t queue_of(uint16_t source, uint16_t target, uint32_t queue) const noexcept {
    const std::vector<uint32_t>& queues = *ends_[target].queues;
    return source == target ? queue : queues[queue % queues.size()];
  }

  std::vector<Way> ends_;
  Counter* counters_ = nullptr;
  BatchStorage outbound_;
  std::vector<uint16_t> way_;  // of each frame of a batch: the port that it leaves by, or kNowhere
  // outbound_ has what leaves by port; of each place the number in the batch.
  std::vector<uint32_t> frame_;
  // By port: how many, and behind the last one that was laid down.
  std::vector<uint32_t> frames_, place_;
  std::vector<uint16_t> targets_;  // that have some
};

}  // namespace wp
