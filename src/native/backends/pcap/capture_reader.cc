// SPDX-License-Identifier: Apache-2.0
#include "backends/pcap/capture_reader.h"

#include <algorithm>
#include <limits>

#include "net/bytes.h"

namespace wp::pcap {
namespace {

using net::load_le;

constexpr uint32_t kPcapMicro = 0xa1b2c3d4;
constexpr uint32_t kPcapNano = 0xa1b23c4d;
constexpr uint32_t kPcapPatched = 0xa1b2cd34;  // Kuznetzov's: 8 more bytes in each record header
constexpr size_t kPcapHeader = 24;

constexpr uint32_t kSectionHeader = 0x0a0d0d0a;
constexpr uint32_t kByteOrderMagic = 0x1a2b3c4d;
constexpr uint32_t kInterfaceDescription = 1;
constexpr uint32_t kPacketBlock = 2;  // obsolete, still written by old tools
constexpr uint32_t kSimplePacket = 3;
constexpr uint32_t kEnhancedPacket = 6;
// Known and of no use here: name resolution, interface statistics, journal, secrets, custom.
constexpr uint32_t kSkipped[] = {4, 5, 9, 10, 0x00000bad, 0x40000bad};
constexpr size_t kBlockFrame = 12;  // type, length, body, length again

constexpr uint16_t kOptionEnd = 0, kOptionResolution = 9, kOptionFcs = 13, kOptionOffset = 14;

// So that a usual file never makes the data path allocate.
constexpr size_t kUsualInterfaces = 1024;

constexpr __int128 kNsPerSecond = 1'000'000'000;

int64_t saturate(__int128 ns) noexcept {
  constexpr int64_t low = std::numeric_limits<int64_t>::min();
  constexpr int64_t high = std::numeric_limits<int64_t>::max();
  return ns < low ? low : ns > high ? high : static_cast<int64_t>(ns);
}

uint64_t power_of_ten(unsigned exponent) noexcept {
  uint64_t value = 1;
  while (exponent--) value *= 10;
  return value;
}

}  // namespace

TimeScale::TimeScale(uint8_t resolution, int64_t offset_seconds) noexcept
    : resolution_(resolution), offset_ns_(offset_seconds * kNsPerSecond) {
  const unsigned exponent = resolution & 0x7f;
  if (resolution & 0x80) {
    kind_ = Kind::kShift;
    factor_ = exponent;
  } else if (exponent <= 9) {
    kind_ = Kind::kMultiply;
    factor_ = power_of_ten(9 - exponent);
  } else {
    kind_ = Kind::kDivide;
    // 64 bits of ticks finer than 10^-28 s never make up a nanosecond.
    factor_ = exponent - 9 <= 19 ? power_of_ten(exponent - 9) : 0;
  }
}

int64_t TimeScale::to_ns(uint64_t ticks) const noexcept {
  __int128 ns = 0;
  switch (kind_) {
    case Kind::kMultiply:
      ns = static_cast<__int128>(ticks) * factor_;
      break;
    case Kind::kDivide:
      ns = factor_ ? static_cast<__int128>(ticks / factor_) : 0;
      break;
    case Kind::kShift:
      ns = static_cast<__int128>(ticks) * kNsPerSecond >> factor_;
      break;
  }
  return saturate(ns + offset_ns_);
}

std::string TimeScale::name() const {
  if (resolution_ == 3) return "millisecond";
  if (resolution_ == 6) return "microsecond";
  if (resolution_ == 9) return "nanosecond";
  return (resolution_ & 0x80 ? "2^-" : "10^-") + std::to_string(resolution_ & 0x7f) + " s";
}

CaptureReader::CaptureReader(std::span<const uint8_t> bytes) : bytes_(bytes) {
  interfaces_.reserve(kUsualInterfaces);
  rewind();
}

uint16_t CaptureReader::u16(const uint8_t* p) const noexcept {
  return swapped_ ? net::load_be16(p) : load_le<uint16_t>(p);
}

uint32_t CaptureReader::u32(const uint8_t* p) const noexcept {
  return swapped_ ? net::load_be32(p) : load_le<uint32_t>(p);
}

void CaptureReader::rewind() noexcept {
  at_ = 0;
  ended_ = false;
  swapped_ = false;
  interfaces_.clear();
  if (bytes_.size() >= 4 && load_le<uint32_t>(bytes_.data()) == kSectionHeader) {
    format_ = CaptureFormat::kPcapng;
    return;
  }
  if (!read_pcap_header()) ended_ = true;
}

bool CaptureReader::read_pcap_header() noexcept {
  if (bytes_.size() < 4) return false;
  uint32_t magic = load_le<uint32_t>(bytes_.data());
  swapped_ = magic != kPcapMicro && magic != kPcapNano && magic != kPcapPatched;
  if (swapped_) magic = __builtin_bswap32(magic);
  if (magic != kPcapMicro && magic != kPcapNano && magic != kPcapPatched) return false;
  format_ = CaptureFormat::kPcap;
  record_header_ = magic == kPcapPatched ? 24 : 16;
  nanoseconds_ = magic == kPcapNano;
  if (bytes_.size() < kPcapHeader) return cut_short();
  // The upper half of the link type may announce a frame check sequence, in 16-bit words.
  const uint32_t link = u32(bytes_.data() + 20);
  const auto fcs = static_cast<uint8_t>(link & 0x04000000 ? (link >> 28) * 2 : 0);
  interfaces_.push_back({static_cast<uint16_t>(link), fcs, 0, TimeScale(nanoseconds_ ? 9 : 6, 0)});
  at_ = kPcapHeader;
  return true;
}

bool CaptureReader::next(CapturePacket& packet) noexcept {
  if (ended_) return false;
  return format_ == CaptureFormat::kPcap ? next_pcap(packet) : next_pcapng(packet);
}

bool CaptureReader::lose_framing(uint64_t& counter) noexcept {
  counter++;
  ended_ = true;
  return false;
}

bool CaptureReader::cut_short() noexcept {
  return lose_framing(counts_.truncated_tail);
}

bool CaptureReader::next_pcap(CapturePacket& packet) noexcept {
  const size_t left = bytes_.size() - at_;
  if (left == 0) {
    ended_ = true;
    return false;
  }
  if (left < record_header_) return cut_short();
  const uint8_t* p = bytes_.data() + at_;
  const uint32_t captured = u32(p + 8);
  if (captured > kMaxPacket) return lose_framing(counts_.malformed);
  if (captured > left - record_header_) return cut_short();
  at_ += record_header_ + captured;
  // Seconds and their fraction become ticks of the scale, which keeps one conversion.
  const uint64_t per_second = nanoseconds_ ? 1'000'000'000 : 1'000'000;
  const uint64_t ticks = u32(p) * per_second + u32(p + 4);
  return fill(packet, 0, p + record_header_, captured, u32(p + 12), &ticks);
}

bool CaptureReader::fill(CapturePacket& packet, uint32_t interface, const uint8_t* data,
                         uint32_t captured, uint32_t original, const uint64_t* ticks) noexcept {
  const Interface& from = interfaces_[interface];
  original = std::max(original, captured);
  if (from.fcs_bytes && original >= from.fcs_bytes) {
    original -= from.fcs_bytes;
    captured = std::min(captured, original);
  }
  packet = {.data = data,
            .length = captured,
            .original = original,
            .timestamp = ticks ? from.scale.to_ns(*ticks) : 0,
            .interface = interface,
            .link_type = from.link_type,
            .big_endian = swapped_};
  scale_ = from.scale;
  counts_.packets++;
  counts_.snapped += captured < original;
  return true;
}

// Checks the framing and steps over the block.
bool CaptureReader::next_block(Block& block) noexcept {
  const size_t left = bytes_.size() - at_;
  if (left == 0) {
    ended_ = true;
    return false;
  }
  if (left < kBlockFrame) return cut_short();
  const uint8_t* p = bytes_.data() + at_;
  block.type = u32(p);
  if (block.type == kSectionHeader) {  // a palindrome: the byte order is told by what follows
    const uint32_t magic = load_le<uint32_t>(p + 8);
    swapped_ = magic == __builtin_bswap32(kByteOrderMagic);
    if (!swapped_ && magic != kByteOrderMagic) return lose_framing(counts_.malformed_blocks);
  }
  const uint32_t total = u32(p + 4);
  const bool carries_packet =
      block.type == kEnhancedPacket || block.type == kSimplePacket || block.type == kPacketBlock;
  uint64_t& broken = carries_packet ? counts_.malformed : counts_.malformed_blocks;
  if (total < kBlockFrame || total % 4 != 0 || total > kMaxBlock) return lose_framing(broken);
  if (total > left) return cut_short();
  if (u32(p + total - 4) != total) return lose_framing(broken);
  block.body = p + 8;
  block.length = total - static_cast<uint32_t>(kBlockFrame);
  at_ += total;
  return true;
}

bool CaptureReader::next_pcapng(CapturePacket& packet) noexcept {
  Block block;
  while (next_block(block)) {
    switch (block.type) {
      case kEnhancedPacket:
      case kPacketBlock:
      case kSimplePacket:
        if (read_packet_block(block, packet)) return true;
        counts_.malformed++;
        break;
      case kInterfaceDescription:
        read_interface(block);
        break;
      case kSectionHeader:
        if (!read_section(block)) return false;
        break;
      default:
        if (std::ranges::find(kSkipped, block.type) == std::end(kSkipped)) counts_.unknown_blocks++;
    }
  }
  return false;
}

bool CaptureReader::read_section(const Block& block) noexcept {
  // Another major version may frame its blocks in another way.
  if (block.length < 16 || u16(block.body + 4) != 1) return lose_framing(counts_.malformed_blocks);
  interfaces_.clear();
  return true;
}

void CaptureReader::read_interface(const Block& block) noexcept {
  // Kept even where it makes no sense, since packets count interfaces by their order.
  Interface interface { 0xffff, 0, 0, TimeScale() };
  if (block.length < 8) {
    counts_.malformed_blocks++;
    interfaces_.push_back(interface);
    return;
  }
  interface.link_type = u16(block.body);
  interface.snap_length = u32(block.body + 4);
  uint8_t resolution = 6;
  int64_t offset = 0;
  for (uint32_t at = 8; at + 4 <= block.length;) {
    const uint16_t code = u16(block.body + at);
    const uint16_t length = u16(block.body + at + 2);
    const uint8_t* value = block.body + at + 4;
    if (code == kOptionEnd) break;
    if (length > block.length - at - 4) {
      counts_.malformed_blocks++;
      break;
    }
    if (code == kOptionResolution && length == 1) resolution = *value;
    if (code == kOptionFcs && length == 1) interface.fcs_bytes = *value / 8;  // given in bits
    if (code == kOptionOffset && length == 8)
      offset = static_cast<int64_t>(swapped_ ? net::load_be64(value) : load_le<uint64_t>(value));
    at += 4 + ((length + 3u) & ~3u);
  }
  interface.scale = TimeScale(resolution, offset);
  interfaces_.push_back(interface);
}

bool CaptureReader::read_packet_block(const Block& block, CapturePacket& packet) noexcept {
  const uint8_t* p = block.body;
  if (block.type == kSimplePacket) {
    if (block.length < 4 || interfaces_.empty()) return false;
    const uint32_t original = u32(p);
    const uint32_t snap = interfaces_[0].snap_length;
    const uint32_t captured = snap ? std::min(original, snap) : original;
    if (captured > block.length - 4 || captured > kMaxPacket) return false;
    return fill(packet, 0, p + 4, captured, original, nullptr);
  }
  if (block.length < 20) return false;
  const uint32_t interface = block.type == kEnhancedPacket ? u32(p) : u16(p);
  const uint32_t captured = u32(p + 12);
  if (interface >= interfaces_.size()) return false;
  if (captured > block.length - 20 || captured > kMaxPacket) return false;
  const uint64_t ticks = uint64_t{u32(p + 4)} << 32 | u32(p + 8);
  return fill(packet, interface, p + 20, captured, u32(p + 16), &ticks);
}

}  // namespace wp::pcap
