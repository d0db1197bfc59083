/* SPDX-License-Identifier: Apache-2.0
 *
 * Fuzz target: datagrams of a layout that the input's first six bytes declare through
 * RawFramer and its session, and through the naive ones: options, header, row, offset
 * and width of the number, first number wanted. Then every datagram is a byte of
 * length and its bytes.
 */
#include "feed/raw_datagrams.h"

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>

#include "feed/framed_session.h"
#include "feed/framed_session_naive.h"

namespace {

using namespace wp::feed;
using namespace wp::feed::naive;

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "raw datagrams and their model differ in: %s\n", what);
  std::abort();
}

bool usable(const RawLayout& l) {
  if (l.row == 0) return false;
  const bool width = l.sequence_width <= 2 || l.sequence_width == 4 || l.sequence_width == 8;
  return width && (l.sequence_width == 0 || l.sequence_at + l.sequence_width <= l.header + l.row);
}

std::optional<NaivePacket> packet_of(const RawLayout& l, const Bytes& b) {
  NaivePacket p;
  if (b.size() < l.header) return {};
  Bytes rest(b.begin() + static_cast<long>(l.header), b.end());
  while (rest.size() >= l.row) {
    const auto end = rest.begin() + static_cast<long>(l.row);
    p.messages.emplace_back(rest.begin(), end);
    rest.erase(rest.begin(), end);
  }
  if (!rest.empty()) return {};
  p.kind = PacketKind::kUnsequenced;
  if (l.sequence_width == 0 || b.size() < l.sequence_at + l.sequence_width) return p;
  for (size_t i = 0; i < l.sequence_width; ++i) {
    const size_t at = l.big_endian ? i : l.sequence_width - 1 - i;
    p.first = p.first * 256 + b[l.sequence_at + at];
  }
  p.kind = p.messages.empty() ? PacketKind::kHeartbeat : PacketKind::kData;
  if (l.sequence_width == 8 && p.first + p.messages.size() < p.first) return {};
  return p;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 6) return 0;
  const RawLayout layout{.header = data[1] % 24u,
                         .row = data[2] % 24u,
                         .sequence_at = data[3] % 32u,
                         .sequence_width = data[4] % 10u,
                         .big_endian = (data[0] & 1) != 0};
  const size_t max_gaps = 1 + (data[0] >> 1 & 3);
  const uint64_t wanted = data[5];
  std::optional<RawFramer> framer;
  try {
    framer.emplace(layout);
  } catch (const wp::Error&) {
  }
  require(framer.has_value() == usable(layout), "the layouts that are taken");
  if (!framer) return 0;
  FramedSession<RawFramer> session({wanted, max_gaps}, *framer);
  NaiveSession model(framer->kNumbers, wanted, max_gaps);
  data += 6;
  size -= 6;
  while (size != 0) {
    const size_t length = data[0] < size - 1 ? data[0] : size - 1;
    const Bytes datagram(data + 1, data + 1 + length);
    // An exact copy lets a sanitizer see any access outside.
    const std::unique_ptr<uint8_t[]> exact(new uint8_t[length]);
    std::copy(datagram.begin(), datagram.end(), exact.get());
    Recorder sink;
    session.on_datagram(exact.get(), length, sink);
    require(sink.events == model.on_packet(packet_of(layout, datagram)), "events");
    require(same_counters(session.counters(), model.c), "counters");
    data += 1 + length;
    size -= 1 + length;
  }
  return 0;
}
