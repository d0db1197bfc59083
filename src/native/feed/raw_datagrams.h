/* SPDX-License-Identifier: Apache-2.0
 *
 * Datagrams of a layout that the user declares: a header of fixed size, which may be
 * nothing, then rows of fixed size. A number in the header or in the first row may
 * say which row of the sequence the first is.
 */
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "core/error.h"
#include "feed/packet.h"
#include "net/bytes.h"

namespace wp::feed {

struct RawLayout {
  size_t header = 0;          // bytes before the first row
  size_t row = 1;             // bytes of a row
  size_t sequence_at = 0;     // offset of the number in the datagram
  size_t sequence_width = 0;  // 1, 2, 4, 8 bytes, unsigned; 0: rows are not numbered
  bool big_endian = false;
};

class RawFramer {
 public:
  static constexpr size_t kUnits = 1;

  /* Throws wp::Error. */
  explicit RawFramer(const RawLayout& layout = {})
      : kNumbers{layout.sequence_width == 0 || layout.sequence_width >= 8
                     ? UINT64_MAX
                     : (uint64_t{1} << (8 * layout.sequence_width)) - 1,
                 0},
        layout_(layout) {
    if (layout.row == 0) throw config_error("dtype", "0 bytes", "at least one byte");
    const size_t w = layout.sequence_width;
    if (w != 0 && w != 1 && w != 2 && w != 4 && w != 8)
      throw config_error("sequence", std::to_string(w) + " bytes", "1, 2, 4 or 8");
    if (w != 0 && layout.sequence_at + w > layout.header + layout.row)
      throw config_error("sequence", "at " + std::to_string(layout.sequence_at),
                         "within the header and the first row");
  }

  const SequenceNumbers kNumbers;  // of the width that the number has

  /* Malformed: shorter than the header, or not a whole number of rows. */
  bool parse(const uint8_t* p, size_t n, Packet& out) const {
    if (n < layout_.header || (n - layout_.header) % layout_.row != 0) return false;
    out = {};
    out.count = static_cast<uint32_t>((n - layout_.header) / layout_.row);
    out.messages = p + layout_.header;
    out.end = p + n;
    const size_t w = layout_.sequence_width;
    if (w == 0 || layout_.sequence_at + w > n) {
      out.kind = PacketKind::kUnsequenced;
      return true;
    }
    for (size_t i = 0; i < w; ++i) {
      const size_t shift = 8 * (layout_.big_endian ? w - 1 - i : i);
      out.first |= uint64_t{p[layout_.sequence_at + i]} << shift;
    }
    out.kind = out.count == 0 ? PacketKind::kHeartbeat : PacketKind::kData;
    return kNumbers.last != UINT64_MAX || out.first <= UINT64_MAX - out.count;
  }

  template <class F>
  void for_each(const Packet& packet, F&& f) const {
    const uint8_t* at = packet.messages;
    for (uint32_t i = 0; i < packet.count; ++i, at += layout_.row) f(at, layout_.row);
  }

  const RawLayout& layout() const { return layout_; }

 private:
  RawLayout layout_;
};

}  // namespace wp::feed
