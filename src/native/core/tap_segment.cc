// SPDX-License-Identifier: Apache-2.0
#include "core/tap_segment.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "core/error.h"
#include "core/tap_cell.h"

namespace wp {
namespace {
constexpr uint64_t kMagic = 0x31504154'00505704;  // "\4WP\0TAP1": change when the layout does
constexpr uint32_t kMaxQueues = 1024;
}  // namespace

struct TapSegment::Header {
  uint64_t magic;
  uint64_t ring_bytes;
  uint32_t queues;
  uint32_t snap_length;
  uint32_t instructions;
  std::atomic<uint32_t> followers;
  alignas(64) BpfInstruction filter[kMaxBpfInstructions];
};

size_t TapSegment::bytes_for(uint32_t queues, uint64_t ring_bytes) noexcept {
  return sizeof(Header) + queues * FrameRing::bytes_for(ring_bytes);
}

TapSegment TapSegment::create(uint64_t request, uint32_t queues, uint64_t ring_bytes,
                              uint32_t snap_length, std::span<const BpfInstruction> filter) {
  if (!std::has_single_bit(ring_bytes) || ring_bytes < FrameRing::kMinCapacity ||
      ring_bytes > FrameRing::kMaxCapacity)
    throw config_error("ring_bytes", std::to_string(ring_bytes),
                       "a power of two from 4096 to 2^30");
  if (queues < 1 || queues > kMaxQueues)
    throw config_error("queues", std::to_string(queues), "1 to " + std::to_string(kMaxQueues));
  if (const std::string wrong = filter.empty() ? "" : bpf_problem(filter); !wrong.empty())
    throw Error(ErrorKind::kConfig, "the capture filter is not usable: " + wrong);
  TapSegment out(SharedMemory::create(tap_segment_name(request), bytes_for(queues, ring_bytes)));
  out.memory_.reserve();
  auto* header = static_cast<Header*>(out.memory_.data());
  header->ring_bytes = out.ring_bytes_ = ring_bytes;
  header->queues = out.queues_ = queues;
  header->snap_length = out.snap_length_ = snap_length;
  header->instructions = static_cast<uint32_t>(filter.size());
  std::ranges::copy(filter, header->filter);
  out.filter_.assign(filter.begin(), filter.end());
  std::atomic_thread_fence(std::memory_order_release);
  header->magic = kMagic;
  return out;
}

TapSegment TapSegment::attach(uint64_t request) {
  TapSegment out(SharedMemory::attach(tap_segment_name(request), true));
  const auto* header = static_cast<const Header*>(out.memory_.data());
  const auto broken = [&] {
    return Error(ErrorKind::kIo, "\"" + out.memory_.name() + "\" is not a wirepath tap",
                 "or it was made by another version of wirepath");
  };
  if (out.memory_.size() < sizeof(Header) || header->magic != kMagic) throw broken();
  out.ring_bytes_ = header->ring_bytes;
  out.queues_ = header->queues;
  out.snap_length_ = header->snap_length;
  const uint32_t instructions = header->instructions;
  if (!std::has_single_bit(out.ring_bytes_) || out.ring_bytes_ < FrameRing::kMinCapacity ||
      out.ring_bytes_ > FrameRing::kMaxCapacity || out.queues_ < 1 || out.queues_ > kMaxQueues ||
      out.memory_.size() != bytes_for(out.queues_, out.ring_bytes_) ||
      instructions > kMaxBpfInstructions)
    throw broken();
  out.filter_.assign(header->filter, header->filter + instructions);
  if (instructions != 0 && !bpf_problem(out.filter_).empty()) throw broken();
  return out;
}

uint32_t TapSegment::followers() const noexcept {
  return static_cast<const Header*>(memory_.data())->followers.load(std::memory_order_acquire);
}

void TapSegment::follow(bool on) const noexcept {
  auto* header = static_cast<Header*>(memory_.data());
  header->followers.fetch_add(on ? 1 : UINT32_MAX, std::memory_order_acq_rel);
}

FrameRing TapSegment::ring(uint32_t queue) const noexcept {
  uint8_t* first = static_cast<uint8_t*>(memory_.data()) + sizeof(Header);
  return FrameRing(first + queue * FrameRing::bytes_for(ring_bytes_), ring_bytes_);
}

}  // namespace wp
