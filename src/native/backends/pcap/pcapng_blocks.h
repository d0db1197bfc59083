// SPDX-License-Identifier: Apache-2.0
// Lays out pcapng blocks with their options (draft-ietf-opsawg-pcapng), little-endian, times in
// nanoseconds. No I/O: blocks gather in memory, whole.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace wp::pcap {

// Texts that are empty are left out.
struct SectionOptions {
  std::string hardware{}, os{}, application{}, comment{};
};

struct InterfaceOptions {
  std::string name{}, description{}, hardware{}, os{}, filter{}, comment{};
  uint32_t snap_length = 0;  // 0 = whole frames
  uint64_t speed = 0;        // bit/s, 0 = not known
};

struct PacketOptions {
  uint32_t flags = 0;                     // epb_flags: 1 inbound, 2 outbound
  uint64_t lost = 0;                      // epb_dropcount, left out where 0
  std::optional<uint64_t> id{};           // epb_packetid
  std::optional<uint32_t> queue{};        // epb_queue
  std::optional<uint64_t> xdp_verdict{};  // epb_verdict of an XDP program
  std::string_view comment{};
};

struct InterfaceStatistics {
  int64_t start = 0, end = 0;             // ns since the Unix epoch
  std::optional<uint64_t> received{};     // isb_ifrecv: frames that the interface received
  std::optional<uint64_t> dropped{};      // isb_ifdrop: frames that it lost
  std::optional<uint64_t> accepted{};     // isb_filteraccept
  std::optional<uint64_t> tap_dropped{};  // isb_osdrop: found no room on the way to the capturer
  std::optional<uint64_t> delivered{};    // isb_usrdeliv
  std::string comment{};
};

class PcapngBlocks {
 public:
  void section(const SectionOptions& options);
  // Interfaces are numbered from 0 in the order in which they come.
  void interface(const InterfaceOptions& options);
  // `original`: bytes of the frame, of which `data` may be the beginning.
  void packet(uint32_t interface, std::span<const uint8_t> data, uint32_t original,
              int64_t timestamp, const PacketOptions& options);
  void statistics(uint32_t interface, int64_t timestamp, const InterfaceStatistics& statistics);

  std::span<const uint8_t> bytes() const noexcept { return {buffer_.data(), used_}; }
  // The first `bytes` of them have been written.
  void drop(size_t bytes) noexcept;

 private:
  uint8_t* take(size_t bytes);
  void put16(uint16_t value);
  void put32(uint32_t value);
  void put64(uint64_t value);
  void put_bytes(const void* data, size_t bytes);  // padded to 32 bits
  void begin(uint32_t type);
  void end();
  void option(uint16_t code, std::string_view text);
  void option32(uint16_t code, uint32_t value);
  void option64(uint16_t code, uint64_t value);
  void option_time(uint16_t code, int64_t ns);
  void put_time(int64_t ns);
  void end_options();

  std::vector<uint8_t> buffer_;  // used_ of it
  size_t used_ = 0;
  size_t block_ = 0;  // where the block that is being laid out begins
};

}  // namespace wp::pcap
