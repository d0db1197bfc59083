// SPDX-License-Identifier: Apache-2.0
// The tap of a port: copies the frames that it receives and sends into rings that a capturer, in
// another process or this one, made and reads. Whoever drives a queue calls it, once a burst:
//
//   n = port.rx(queue, batch);
//   if (port.tap().on()) [[unlikely]] port.tap().received(queue, batch);
//   … stages …
//   if it was on: port.tap().judged(queue, batch);
//
// Without a capturer that is one load and one branch a burst. A slow capturer loses frames, which
// are counted; it never makes the data path wait. One that has died is noticed, and the tap is off.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/batch.h"
#include "core/tap_cell.h"
#include "core/tap_segment.h"

namespace wp {

class Telemetry;

class Tap {
 public:
  Tap();
  ~Tap();
  Tap(const Tap&) = delete;
  Tap& operator=(const Tap&) = delete;

  // Control thread, once the port is open: from now on it can be asked for.
  void open(Telemetry& telemetry, const std::string& spec, uint32_t queues);

#ifdef WP_WITHOUT_TAP  // what the price of the branch is measured against
  constexpr bool on() const noexcept {
    return false;
  }
#else
  bool on() const noexcept {
    return cell_->request.load(std::memory_order_relaxed) != 0;
  }
#endif

  // The frames of a burst as they came; the capturer sees them once they are judged.
  void received(uint32_t queue, const wp_batch& batch) noexcept;
  // With the verdicts that the stages wrote. Those that a stage took out of the batch are kept.
  void judged(uint32_t queue, const wp_batch& batch) noexcept;
  // Of a consumer without stages: there are no verdicts.
  void passed_on(uint32_t queue) noexcept;
  // Frames that are about to leave (those with WP_TX), and how many of them did: the first ones.
  void sending(uint32_t queue, const wp_batch& batch, int64_t now) noexcept;
  void sent(uint32_t queue, uint32_t frames) noexcept;

  // Now and then, from whoever drives the queue: follows what was asked for since, and lets go of
  // a capturer that has died.
  void idle(uint32_t queue) noexcept {
    if (cell_->request.load(std::memory_order_relaxed) != followed(queue)) [[unlikely]]
      follow(queue);
    else if (on()) [[unlikely]]
      check_lease(queue);
  }

 private:
  struct Queue;
  enum class Fate : uint8_t;
  uint64_t followed(uint32_t queue) const noexcept;
  Queue* ready(uint32_t queue) noexcept;
  void follow(uint32_t queue) noexcept;
  void check_lease(uint32_t queue) noexcept;
  static bool wants(const Queue& queue, const wp_batch& batch, uint32_t i) noexcept;
  static bool add(Queue& q, uint32_t queue, const wp_batch& batch, uint32_t i, FrameDirection way,
                  int64_t timestamp) noexcept;

  TapCell nobody_;  // where there is none to ask
  TapCell* cell_ = &nobody_;
  Telemetry* telemetry_ = nullptr;
  std::vector<Queue> queues_;
};

}  // namespace wp
