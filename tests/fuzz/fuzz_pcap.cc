/* SPDX-License-Identifier: Apache-2.0
 *
 * Fuzz target: the bytes of a capture through the reader, and each packet through
 * what makes it an Ethernet frame and through steering. Packets must lie within the
 * file and leave room for a header in front, and a second pass must see the same.
 */
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "backends/pcap/capture_reader.h"
#include "backends/pcap/link_layer.h"
#include "programs/steer_native.h"

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

const wp::programs::SteerTable& table() {
  static const wp::programs::SteerTable built = [] {
    wp::Steering steering;
    wp::FlowRule rule;
    rule.protocol = wp::Protocol::kUdp;
    rule.port = 0x0909;
    steering.rules.push_back(rule);
    rule.family = 6;
    rule.port = 0;
    steering.rules.push_back(rule);
    return wp::programs::SteerTable(steering);
  }();
  return built;
}

struct Pass {
  uint64_t packets = 0, matched = 0, sum = 0;
  bool operator==(const Pass&) const = default;
};

Pass read(wp::pcap::CaptureReader& reader, const uint8_t* data, size_t size) {
  // A fresh copy for each pass: the port restores its private mapping likewise.
  std::vector<uint8_t> copy(data, data + size);
  Pass pass;
  wp::pcap::CapturePacket p;
  while (reader.next(p)) {
    require(p.data >= data + wp::pcap::kEthernetHeader && p.data + p.length <= data + size);
    require(p.length <= p.original);
    require(p.length <= wp::pcap::CaptureReader::kMaxPacket);
    uint8_t* frame = copy.data() + (p.data - data);
    uint32_t length = p.length;
    pass.packets++;
    pass.sum = pass.sum * 31 + static_cast<uint64_t>(p.timestamp) + p.original;
    if (wp::pcap::lay_ethernet(p.link_type, p.big_endian, p.data, frame, length) !=
        wp::pcap::Laid::kEthernet)
      continue;
    require(frame >= copy.data() && frame + length <= copy.data() + size);
    // An exact copy of the frame, so that a read past its end is one past an allocation.
    const std::vector<uint8_t> exact(frame, frame + length);
    pass.matched += table().match(length ? exact.data() : frame, length);
  }
  return pass;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  wp::pcap::CaptureReader reader({data, size});
  const Pass first = read(reader, data, size);
  require(reader.counts().packets == first.packets);
  require(reader.offset() <= size);
  reader.rewind();
  require(read(reader, data, size) == first);
  return 0;
}
