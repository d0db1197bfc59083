// SPDX-License-Identifier: Apache-2.0
// Reads pcap and pcapng out of memory: no I/O, no allocation per packet, no copy. Written from
// draft-ietf-opsawg-pcap and draft-ietf-opsawg-pcapng.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace wp::pcap {

enum class CaptureFormat : uint8_t { kNone, kPcap, kPcapng };

struct CapturePacket {
  const uint8_t* data;  // into the bytes given to the reader
  uint32_t length;      // captured, without the frame check sequence where the file declares one
  uint32_t original;    // on the wire, likewise; above `length` = cut by the snap length
  int64_t timestamp;    // ns since the Unix epoch, saturating; 0 where the block carries none
  uint32_t interface;   // within its section
  uint16_t link_type;   // LINKTYPE_…
  bool big_endian;      // byte order of the section (LINKTYPE_NULL follows it)
};

// Length of one unit of a timestamp and where it counts from (if_tsresol, if_tsoffset).
class TimeScale {
 public:
  TimeScale() = default;
  TimeScale(uint8_t resolution, int64_t offset_seconds) noexcept;
  int64_t to_ns(uint64_t ticks) const noexcept;
  std::string name() const;  // "microsecond", "nanosecond", "10^-12 s", "2^-20 s"

 private:
  enum class Kind : uint8_t { kMultiply, kDivide, kShift };
  Kind kind_ = Kind::kMultiply;
  uint8_t resolution_ = 6;
  uint64_t factor_ = 1000;  // ns per tick, ticks per ns, or the binary exponent
  __int128 offset_ns_ = 0;
};

// Counts over everything read so far. A whole packet of the file is in exactly one of
// packets and malformed; the others count blocks and the end of the file.
struct CaptureCounts {
  uint64_t packets = 0;           // handed out
  uint64_t snapped = 0;           // of those: shorter than they were on the wire
  uint64_t malformed = 0;         // packets that contradict themselves or their interface
  uint64_t malformed_blocks = 0;  // other blocks that do; the reading ends where framing is lost
  uint64_t unknown_blocks = 0;    // of a type that the specification does not name; skipped
  uint64_t truncated_tail = 0;    // 1 where the file ends within a packet or block
};

class CaptureReader {
 public:
  // Larger than any snap length in use (libpcap's limit); more is a broken length field.
  static constexpr uint32_t kMaxPacket = 262144;
  static constexpr uint32_t kMaxBlock = 16u << 20;

  CaptureReader() = default;
  explicit CaptureReader(std::span<const uint8_t> bytes);

  // kNone: the bytes do not begin like a capture.
  CaptureFormat format() const noexcept { return format_; }
  // The next packet, or false at the end: the bytes are used up, or the framing is lost.
  bool next(CapturePacket& packet) noexcept;
  // Back to the first packet; counts go on.
  void rewind() noexcept;

  const CaptureCounts& counts() const noexcept { return counts_; }
  // Of the last packet's interface.
  const TimeScale& time_scale() const noexcept { return scale_; }
  uint64_t offset() const noexcept { return at_; }

 private:
  struct Interface {
    uint16_t link_type;
    uint8_t fcs_bytes;
    uint32_t snap_length;
    TimeScale scale;
  };
  struct Block {
    uint32_t type;
    const uint8_t* body;
    uint32_t length;  // of the body, padding included
  };

  uint16_t u16(const uint8_t* p) const noexcept;
  uint32_t u32(const uint8_t* p) const noexcept;
  bool read_pcap_header() noexcept;
  bool next_pcap(CapturePacket& packet) noexcept;
  bool next_pcapng(CapturePacket& packet) noexcept;
  bool next_block(Block& block) noexcept;
  bool read_section(const Block& block) noexcept;
  void read_interface(const Block& block) noexcept;
  bool read_packet_block(const Block& block, CapturePacket& packet) noexcept;
  bool fill(CapturePacket& packet, uint32_t interface, const uint8_t* data, uint32_t captured,
            uint32_t original, const uint64_t* ticks) noexcept;
  bool lose_framing(uint64_t& counter) noexcept;
  bool cut_short() noexcept;

  std::span<const uint8_t> bytes_;
  size_t at_ = 0;
  CaptureFormat format_ = CaptureFormat::kNone;
  bool swapped_ = false;
  bool ended_ = false;
  bool nanoseconds_ = false;     // pcap
  uint32_t record_header_ = 16;  // pcap
  std::vector<Interface> interfaces_;
  TimeScale scale_;
  CaptureCounts counts_;
};

}  // namespace wp::pcap
