// SPDX-License-Identifier: Apache-2.0
#include "backends/pcap/pcapng_blocks.h"

#include <algorithm>
#include <cstring>

#include "net/bytes.h"

namespace wp::pcap {
namespace {

constexpr uint32_t kSectionHeader = 0x0a0d0d0a, kByteOrderMagic = 0x1a2b3c4d;
constexpr uint32_t kInterfaceDescription = 1, kInterfaceStatistics = 5, kEnhancedPacket = 6;
constexpr uint16_t kLinkEthernet = 1;

constexpr uint16_t kEndOfOptions = 0, kComment = 1;
constexpr uint16_t kShbHardware = 2, kShbOs = 3, kShbApplication = 4;
constexpr uint16_t kIfName = 2, kIfDescription = 3, kIfSpeed = 8, kIfResolution = 9, kIfFilter = 11,
                   kIfOs = 12, kIfHardware = 15;
constexpr uint16_t kEpbFlags = 2, kEpbDropCount = 4, kEpbPacketId = 5, kEpbQueue = 6,
                   kEpbVerdict = 7;
constexpr uint16_t kIsbStart = 2, kIsbEnd = 3, kIsbReceived = 4, kIsbDropped = 5, kIsbAccepted = 6,
                   kIsbOsDropped = 7, kIsbDelivered = 8;
constexpr char kFilterAsText = 0;
constexpr uint8_t kXdpVerdict = 2;  // what follows is what an eBPF program at XDP returned

constexpr size_t kMaxText = 65535;  // an option's length has 16 bits

}  // namespace

uint8_t* PcapngBlocks::take(size_t bytes) {
  if (used_ + bytes > buffer_.size())
    buffer_.resize(std::max<size_t>({size_t{1} << 16, 2 * buffer_.size(), used_ + bytes}));
  uint8_t* at = buffer_.data() + used_;
  used_ += bytes;
  return at;
}

void PcapngBlocks::drop(size_t bytes) noexcept {
  used_ -= bytes;
  if (used_ != 0) std::memmove(buffer_.data(), buffer_.data() + bytes, used_);
}

void PcapngBlocks::put16(uint16_t value) {
  net::store_le(take(2), value);
}
void PcapngBlocks::put32(uint32_t value) {
  net::store_le(take(4), value);
}
void PcapngBlocks::put64(uint64_t value) {
  net::store_le(take(8), value);
}

void PcapngBlocks::put_bytes(const void* data, size_t bytes) {
  const size_t padded = (bytes + 3) & ~size_t{3};
  uint8_t* at = take(padded);
  if (bytes != 0) std::memcpy(at, data, bytes);
  std::memset(at + bytes, 0, padded - bytes);
}

void PcapngBlocks::begin(uint32_t type) {
  block_ = used_;
  put32(type);
  put32(0);  // the length, once it is known
}

void PcapngBlocks::end() {
  const auto length = static_cast<uint32_t>(used_ - block_ + 4);
  put32(length);
  net::store_le(buffer_.data() + block_ + 4, length);
}

void PcapngBlocks::option(uint16_t code, std::string_view text) {
  if (text.empty()) return;
  text = text.substr(0, kMaxText);
  put16(code);
  put16(static_cast<uint16_t>(text.size()));
  put_bytes(text.data(), text.size());
}

void PcapngBlocks::option32(uint16_t code, uint32_t value) {
  put16(code);
  put16(4);
  put32(value);
}

void PcapngBlocks::option64(uint16_t code, uint64_t value) {
  put16(code);
  put16(8);
  put64(value);
}

// Times have their upper half first, whatever the byte order.
void PcapngBlocks::put_time(int64_t ns) {
  const auto ticks = static_cast<uint64_t>(std::max<int64_t>(ns, 0));
  put32(static_cast<uint32_t>(ticks >> 32));
  put32(static_cast<uint32_t>(ticks));
}

void PcapngBlocks::option_time(uint16_t code, int64_t ns) {
  put16(code);
  put16(8);
  put_time(ns);
}

void PcapngBlocks::end_options() {
  put32(kEndOfOptions);
}

void PcapngBlocks::section(const SectionOptions& options) {
  begin(kSectionHeader);
  put32(kByteOrderMagic);
  put16(1);
  put16(0);
  put64(UINT64_MAX);  // length of the section: not told
  option(kComment, options.comment);
  option(kShbHardware, options.hardware);
  option(kShbOs, options.os);
  option(kShbApplication, options.application);
  end_options();
  end();
}

void PcapngBlocks::interface(const InterfaceOptions& options) {
  begin(kInterfaceDescription);
  put16(kLinkEthernet);
  put16(0);
  put32(options.snap_length);
  option(kComment, options.comment);
  option(kIfName, options.name);
  option(kIfDescription, options.description);
  if (options.speed != 0) option64(kIfSpeed, options.speed);
  put16(kIfResolution);
  put16(1);
  put32(9);  // 10^-9 s, padded
  if (!options.filter.empty()) option(kIfFilter, std::string(1, kFilterAsText) + options.filter);
  option(kIfOs, options.os);
  option(kIfHardware, options.hardware);
  end_options();
  end();
}

void PcapngBlocks::packet(uint32_t interface, std::span<const uint8_t> data, uint32_t original,
                          int64_t timestamp, const PacketOptions& options) {
  begin(kEnhancedPacket);
  put32(interface);
  put_time(timestamp);
  put32(static_cast<uint32_t>(data.size()));
  put32(original);
  put_bytes(data.data(), data.size());
  option(kComment, options.comment);
  if (options.flags != 0) option32(kEpbFlags, options.flags);
  if (options.lost != 0) option64(kEpbDropCount, options.lost);
  if (options.id) option64(kEpbPacketId, *options.id);
  if (options.queue) option32(kEpbQueue, *options.queue);
  if (options.xdp_verdict) {
    uint8_t verdict[9] = {kXdpVerdict};
    net::store_le(verdict + 1, *options.xdp_verdict);
    put16(kEpbVerdict);
    put16(sizeof verdict);
    put_bytes(verdict, sizeof verdict);
  }
  end_options();
  end();
}

void PcapngBlocks::statistics(uint32_t interface, int64_t timestamp,
                              const InterfaceStatistics& statistics) {
  begin(kInterfaceStatistics);
  put32(interface);
  put_time(timestamp);
  option(kComment, statistics.comment);
  option_time(kIsbStart, statistics.start);
  option_time(kIsbEnd, statistics.end);
  const auto count = [&](uint16_t code, const std::optional<uint64_t>& value) {
    if (value) option64(code, *value);
  };
  count(kIsbReceived, statistics.received);
  count(kIsbDropped, statistics.dropped);
  count(kIsbAccepted, statistics.accepted);
  count(kIsbOsDropped, statistics.tap_dropped);
  count(kIsbDelivered, statistics.delivered);
  end_options();
  end();
}

}  // namespace wp::pcap
