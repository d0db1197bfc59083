/* SPDX-License-Identifier: Apache-2.0
 *
 * Fuzz target: the bytes say which frames with which options are laid out as pcapng;
 * the reader must give every one of them back, and find nothing malformed.
 */
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <vector>

#include "backends/pcap/capture_reader.h"
#include "backends/pcap/pcapng_blocks.h"

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

/* Takes values off the input; zeros once it is used up. */
struct Input {
  const uint8_t* data;
  size_t left;

  uint64_t number(size_t bytes) {
    uint64_t out = 0;
    bytes = std::min(bytes, left);
    std::memcpy(&out, data, bytes);
    data += bytes, left -= bytes;
    return out;
  }
  std::string_view text(size_t most) {
    const size_t n = std::min({static_cast<size_t>(number(1)), most, left});
    const std::string_view out(reinterpret_cast<const char*>(data), n);
    data += n, left -= n;
    return out;
  }
};

struct Sent {
  std::string_view data;
  uint32_t original;
  int64_t time;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Input in{data, size};
  wp::pcap::PcapngBlocks blocks;
  wp::pcap::SectionOptions section;
  section.comment = in.text(64);
  section.application = in.text(64);
  blocks.section(section);
  wp::pcap::InterfaceOptions interface;
  interface.name = in.text(64);
  interface.filter = in.text(64);
  blocks.interface(interface);
  std::vector<Sent> sent;
  while (in.left > 0) {
    const uint64_t what = in.number(1);
    Sent s{in.text(255), 0, static_cast<int64_t>(in.number(8) >> 1)};
    s.original = static_cast<uint32_t>(s.data.size() + what % 7);
    wp::pcap::PacketOptions options;
    options.flags = static_cast<uint32_t>(what & 3);
    if (what & 4) options.lost = in.number(8);
    if (what & 8) options.id = in.number(8);
    if (what & 16) options.queue = static_cast<uint32_t>(in.number(4));
    if (what & 32) options.xdp_verdict = in.number(8);
    if (what & 64) options.comment = in.text(255);
    blocks.packet(0, {reinterpret_cast<const uint8_t*>(s.data.data()), s.data.size()}, s.original,
                  s.time, options);
    if (what & 128) {
      wp::pcap::InterfaceStatistics statistics;
      statistics.received = in.number(8);
      statistics.comment = in.text(64);
      blocks.statistics(0, s.time, statistics);
    }
    sent.push_back(s);
  }
  wp::pcap::CaptureReader reader(blocks.bytes());
  wp::pcap::CapturePacket packet;
  for (const Sent& s : sent) {
    require(reader.next(packet));
    require(packet.original == s.original && packet.timestamp == s.time);
    require(packet.length == s.data.size());
    require(std::memcmp(packet.data, s.data.data(), s.data.size()) == 0);
  }
  require(!reader.next(packet) && reader.offset() == blocks.bytes().size());
  require(reader.counts().malformed == 0 && reader.counts().malformed_blocks == 0);
  return 0;
}
