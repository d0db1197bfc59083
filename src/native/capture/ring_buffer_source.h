// SPDX-License-Identifier: Apache-2.0
// Frames that a packet program sends through a BPF ring buffer (Linux 5.8), read where the kernel
// put them. The map's layout is the kernel's ABI: kernel/bpf/ringbuf.c, and libbpf's ringbuf.c.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "capture/frame_source.h"
#include "core/classic_bpf.h"

namespace wp::capture {

class RingBufferSource : public FrameSource {
 public:
  // `map_fd` is duplicated; `ring_bytes`: max_entries of the map. snap_length: bytes of each frame
  // that are kept, once the filter has seen all that the program sent.
  RingBufferSource(int map_fd, uint64_t ring_bytes, uint32_t snap_length,
                   std::vector<BpfInstruction> filter);
  ~RingBufferSource() override;
  RingBufferSource(const RingBufferSource&) = delete;
  RingBufferSource& operator=(const RingBufferSource&) = delete;

  uint32_t streams() const noexcept override { return 1; }
  const FrameRecord* peek(uint32_t stream) noexcept override;
  void consume(uint32_t stream, const FrameRecord* record) noexcept override;
  SourceCounts counts(uint32_t interface) const noexcept override;
  bool renew() noexcept override;
  void stop() noexcept override {}

  // Frames that the program itself counted as lost, where that is more than the records tell.
  void set_lost(uint64_t frames) noexcept { lost_ = std::max(lost_, frames); }
  void end() noexcept { ended_ = true; }  // what sent the frames has gone

 private:
  struct Position {
    std::atomic<uint64_t> value;
  };
  bool take(const uint8_t* record, uint32_t bytes) noexcept;

  int fd_ = -1;
  uint64_t ring_bytes_;
  uint32_t snap_length_;
  std::vector<BpfInstruction> filter_;
  Position* consumer_ = nullptr;
  Position* producer_ = nullptr;
  const uint8_t* data_ = nullptr;  // mapped twice, so that every record is contiguous
  uint64_t at_ = 0;
  std::unique_ptr<uint64_t[]> record_;  // the frame as it is handed out
  bool handed_ = false;
  std::vector<uint64_t> lost_on_;  // by CPU
  uint64_t told_ = 0;              // of the frames lost, by the records
  uint64_t pending_lost_ = 0;      // of those: not yet told by a record handed out
  uint64_t lost_ = 0;
  uint64_t seen_ = 0, filtered_ = 0, broken_ = 0;
  int64_t to_realtime_ = 0;
  bool ended_ = false;
};

}  // namespace wp::capture
