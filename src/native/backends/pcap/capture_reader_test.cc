// SPDX-License-Identifier: Apache-2.0
#include "backends/pcap/capture_reader.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>

#include "backends/pcap/capture_bytes_test.h"

using namespace wp::pcap;
using wp::pcap::testing::Build;
using wp::pcap::testing::Bytes;

namespace {

struct Seen {
  Bytes data;
  uint32_t original;
  int64_t timestamp;
  uint16_t link;
  bool operator==(const Seen&) const = default;
};

struct Result {
  std::vector<Seen> packets;
  CaptureCounts counts;
};

Result read_all(const Bytes& file) {
  // An exact allocation, so that a sanitizer sees every byte read too far.
  const std::vector<uint8_t> exact(file.begin(), file.end());
  CaptureReader reader(exact);
  Result out;
  CapturePacket p;
  while (reader.next(p))
    out.packets.push_back({Bytes(p.data, p.data + p.length), p.original, p.timestamp, p.link_type});
  out.counts = reader.counts();
  CHECK(!reader.next(p));  // the end stays the end
  CHECK(out.counts.packets == out.packets.size());
  return out;
}

Bytes payload(size_t n, uint8_t first) {
  Bytes out(n);
  for (size_t i = 0; i < n; i++) out[i] = static_cast<uint8_t>(first + i);
  return out;
}

}  // namespace

TEST_CASE("pcap: both byte orders, microseconds and nanoseconds") {
  for (const bool big : {false, true})
    for (const bool nano : {false, true}) {
      Build b{big, {}};
      b.pcap_header(nano ? 0xa1b23c4d : 0xa1b2c3d4);
      b.record(1'700'000'000, 123456, payload(60, 1), 60);
      b.record(4'294'967'295, 999'999, payload(0, 0), 0);
      b.record(1'700'000'001, 1, payload(33, 9), 1500);
      const Result r = read_all(b.out);
      const int64_t unit = nano ? 1 : 1000;
      REQUIRE(r.packets.size() == 3);
      CHECK(r.packets[0] == Seen{payload(60, 1), 60, 1'700'000'000'000'000'000 + 123456 * unit, 1});
      CHECK(r.packets[1].timestamp == 4'294'967'295'000'000'000 + 999'999 * unit);
      CHECK(r.packets[2] == Seen{payload(33, 9), 1500, 1'700'000'001'000'000'000 + unit, 1});
      CHECK(r.counts.snapped == 1);
      CHECK(r.counts.malformed + r.counts.truncated_tail + r.counts.malformed_blocks == 0);
    }
}

TEST_CASE("pcap: Kuznetzov's longer record headers, and a declared frame check sequence") {
  Build b;
  b.pcap_header(0xa1b2cd34);
  b.u32(5).u32(6).u32(3).u32(3).u32(7).u16(1).u8(0).u8(0).bytes({1, 2, 3});
  CHECK(read_all(b.out).packets.at(0) == Seen{{1, 2, 3}, 3, 5'000'006'000, 1});

  Build fcs;
  fcs.pcap_header(0xa1b2c3d4, 0x24000001);  // two 16-bit words
  fcs.record(0, 1, payload(64, 0), 64);
  fcs.record(0, 2, payload(62, 0), 64);  // snapped within the check sequence
  const Result r = read_all(fcs.out);
  REQUIRE(r.packets.size() == 2);
  CHECK(r.packets[0] == Seen{payload(60, 0), 60, 1000, 1});
  CHECK(r.packets[1] == Seen{payload(60, 0), 60, 2000, 1});
  CHECK(r.counts.snapped == 0);
}

TEST_CASE("pcapng: interfaces with their resolutions and offsets, sections of either byte order") {
  for (const bool big : {false, true}) {
    Build b{big, {}};
    b.section();
    b.interface(1, 0);
    b.interface(101, 0, 9);
    b.interface(113, 0, 3, -5);
    b.interface(276, 0, 0x80 | 20, 100);
    b.interface(1, 0, 12);
    b.enhanced(0, 1'000'000, payload(5, 1), 5);
    b.enhanced(1, 1'500'000'000'123'456'789, payload(6, 1), 6);
    b.enhanced(2, 10'250, payload(7, 1), 7);
    b.enhanced(3, 3u << 19, payload(8, 1), 9);
    b.obsolete(4, 7'999, payload(9, 1), 9);
    b.big = !big;  // the next section in the other order, with interfaces of its own
    b.section();
    b.interface(0, 0, 6);
    b.enhanced(0, 42, payload(3, 4), 3);
    const Result r = read_all(b.out);
    REQUIRE(r.packets.size() == 6);
    CHECK(r.packets[0] == Seen{payload(5, 1), 5, 1'000'000'000, 1});
    CHECK(r.packets[1] == Seen{payload(6, 1), 6, 1'500'000'000'123'456'789, 101});
    CHECK(r.packets[2] == Seen{payload(7, 1), 7, 5'250'000'000, 113});
    CHECK(r.packets[3] == Seen{payload(8, 1), 9, 101'500'000'000, 276});
    CHECK(r.packets[4] == Seen{payload(9, 1), 9, 7, 1});
    CHECK(r.packets[5] == Seen{payload(3, 4), 3, 42'000, 0});
    CHECK(r.counts.snapped == 1);
  }
}

TEST_CASE("pcapng: simple packets are cut at the snap length of the first interface") {
  Build b;
  b.section().interface(1, 8).simple(payload(8, 1), 100).simple(payload(5, 1), 5);
  const Result r = read_all(b.out);
  REQUIRE(r.packets.size() == 2);
  CHECK(r.packets[0] == Seen{payload(8, 1), 100, 0, 1});
  CHECK(r.packets[1] == Seen{payload(5, 1), 5, 0, 1});
  CHECK(r.counts.snapped == 1);
}

TEST_CASE("pcapng: unknown blocks are counted and skipped, known ones skipped") {
  Build b;
  b.section().interface(1, 0);
  for (const uint32_t type : {4u, 5u, 9u, 10u, 0xbadu, 0x40000badu}) b.block(type, payload(16, 0));
  b.block(0x7777, payload(12, 0)).block(0x80000001, {});
  b.enhanced(0, 1, payload(4, 1), 4);
  const Result r = read_all(b.out);
  CHECK(r.packets.size() == 1);
  CHECK(r.counts.unknown_blocks == 2);
  CHECK(r.counts.malformed_blocks == 0);
}

TEST_CASE("pcapng: a packet that contradicts itself is counted, the next one read") {
  Build b;
  b.section().interface(1, 0);
  b.enhanced(7, 1, payload(4, 1), 4);                               // no such interface
  b.block(6, b.part().u32(0).u32(0).u32(0).u32(999).u32(999).out);  // longer than its block
  b.block(6, {1, 2, 3, 4});                                         // too short for its fields
  b.block(3, b.part().u32(5000).out);                               // likewise, simple
  b.enhanced(0, 1, payload(4, 1), 4);
  const Result r = read_all(b.out);
  CHECK(r.packets.size() == 1);
  CHECK(r.counts.malformed == 4);
}

TEST_CASE("absurd lengths end the reading and are counted") {
  Build pcap;
  pcap.pcap_header(0xa1b2c3d4).record(1, 1, payload(4, 1), 4);
  pcap.u32(1).u32(1).u32(0x7fffffff).u32(4).bytes(payload(64, 0));
  Result r = read_all(pcap.out);
  CHECK(r.packets.size() == 1);
  CHECK(r.counts.malformed == 1);
  for (const uint32_t length : {0u, 8u, 33u, 0xfffffffcu}) {
    Build ng;
    ng.section().interface(1, 0).enhanced(0, 1, payload(4, 1), 4);
    ng.u32(6).u32(length).bytes(payload(64, 0));
    r = read_all(ng.out);
    CHECK(r.packets.size() == 1);
    CHECK(r.counts.malformed == 1);
  }
  Build trailer;  // the length after the block differs from the one before
  trailer.section().interface(1, 0).enhanced(0, 1, payload(4, 1), 4);
  trailer.u32(0x7777).u32(16).u32(0).u32(20);
  r = read_all(trailer.out);
  CHECK(r.counts.malformed_blocks == 1);
  Build version;
  version.block(0x0a0d0d0a, version.part().u32(0x1a2b3c4d).u16(2).u16(0).u64(0).out);
  CHECK(read_all(version.out).counts.malformed_blocks == 1);
}

TEST_CASE("cut at every byte: whole packets come, the rest is one truncated tail") {
  Build pcap;
  pcap.pcap_header(0xa1b2c3d4);
  std::vector<size_t> ends{pcap.out.size()};
  for (uint8_t i = 0; i < 4; i++) {
    pcap.record(i, i, payload(10u + i, i), 20);
    ends.push_back(pcap.out.size());
  }
  Build ng{true, {}};
  std::vector<size_t> ng_blocks;  // a cut at a block's end leaves a whole file
  const auto mark = [&] { ng_blocks.push_back(ng.out.size()); };
  ng.section(), mark(), ng.interface(1, 0), mark();
  std::vector<size_t> ng_ends;
  for (uint8_t i = 0; i < 4; i++) {
    ng.enhanced(0, i, payload(10u + i, i), 20), mark();
    ng_ends.push_back(ng.out.size());
  }
  const auto whole = [](const std::vector<size_t>& at, size_t n) {
    return static_cast<size_t>(
        std::count_if(at.begin(), at.end(), [&](size_t e) { return e <= n; }));
  };
  for (size_t n = 0; n <= pcap.out.size(); n++) {
    const Result r = read_all(Bytes(pcap.out.begin(), pcap.out.begin() + static_cast<long>(n)));
    CHECK(r.packets.size() == (whole(ends, n) ? whole(ends, n) - 1 : 0));
    const bool clean = n < 4 || std::count(ends.begin(), ends.end(), n);
    CHECK(r.counts.truncated_tail == !clean);
  }
  for (size_t n = 0; n <= ng.out.size(); n++) {
    const Result r = read_all(Bytes(ng.out.begin(), ng.out.begin() + static_cast<long>(n)));
    CHECK(r.packets.size() == whole(ng_ends, n));
    const bool clean = n < 4 || std::count(ng_blocks.begin(), ng_blocks.end(), n);
    CHECK(r.counts.truncated_tail == !clean);
    CHECK(r.counts.malformed + r.counts.malformed_blocks == 0);
  }
}

TEST_CASE("timestamps saturate instead of wrapping") {
  CHECK(TimeScale(0, 0).to_ns(UINT64_MAX) == INT64_MAX);
  CHECK(TimeScale(6, INT64_MAX).to_ns(0) == INT64_MAX);
  CHECK(TimeScale(6, INT64_MIN).to_ns(5) == INT64_MIN);
  CHECK(TimeScale(127, 0).to_ns(UINT64_MAX) == 0);
  CHECK(TimeScale(0xff, 0).to_ns(UINT64_MAX) == 0);
  CHECK(TimeScale(0x80, 0).to_ns(2) == 2'000'000'000);
  CHECK(TimeScale(18, 0).to_ns(3'000'000'000) == 3);
  CHECK(TimeScale(9, 0).name() == "nanosecond");
  CHECK(TimeScale(0x94, 0).name() == "2^-20 s");
}

TEST_CASE("rewind gives the same packets again") {
  Build b;
  b.section().interface(1, 0, 9).enhanced(0, 5, payload(4, 1), 4).enhanced(0, 6, payload(5, 1), 5);
  CaptureReader reader(b.out);
  for (int pass = 1; pass <= 3; pass++) {
    CapturePacket p;
    CHECK(reader.next(p));
    CHECK(p.timestamp == 5);
    CHECK(reader.next(p));
    CHECK(p.length == 5);
    CHECK(!reader.next(p));
    CHECK(reader.counts().packets == 2u * static_cast<unsigned>(pass));
    reader.rewind();
  }
}

// The differential: random well-formed files, whose content the writer of the test knows.
TEST_CASE("random files read back as they were put together") {
  std::mt19937_64 random(20240229);
  for (int round = 0; round < 300; round++) {
    std::vector<Seen> expected;
    uint64_t unknown = 0;
    const auto data = [&] { return payload(random() % 200, static_cast<uint8_t>(random())); };
    Build b{random() % 2 == 0, {}};
    if (random() % 2) {
      const bool nano = random() % 2;
      const auto link = static_cast<uint16_t>(random() % 300);
      b.pcap_header(nano ? 0xa1b23c4d : 0xa1b2c3d4, link);
      for (int i = 0; i < 20; i++) {
        const Bytes d = data();
        const auto seconds = static_cast<uint32_t>(random());
        const auto fraction = static_cast<uint32_t>(random() % 1'000'000);
        const auto original = static_cast<uint32_t>(d.size() + random() % 2 * 100);
        b.record(seconds, fraction, d, original);
        expected.push_back(
            {d, original, seconds * 1'000'000'000LL + fraction * (nano ? 1 : 1000), link});
      }
    } else {
      for (int section = 0; section < 3; section++) {
        b.big = random() % 2;
        b.section();
        std::vector<std::pair<uint16_t, int64_t>> interfaces;
        for (int i = 0; i < 12; i++) {
          const uint64_t what = random() % 5;
          const Bytes d = data();
          const auto original = static_cast<uint32_t>(d.size() + random() % 2 * 100);
          const auto ticks = static_cast<uint64_t>(random() % 1'000'000'000'000'000);
          if (interfaces.empty() || what == 0) {
            const auto link = static_cast<uint16_t>(random() % 300);
            const bool nano = random() % 2;
            b.interface(link, 0, nano ? 9 : 6);
            interfaces.emplace_back(link, nano ? 1 : 1000);
          } else if (what == 1) {
            b.block(0x4000 + static_cast<uint32_t>(random() % 100), d);
            unknown++;
          } else if (what == 2) {
            b.simple(d, static_cast<uint32_t>(d.size()));
            expected.push_back({d, static_cast<uint32_t>(d.size()), 0, interfaces[0].first});
          } else {
            const auto which = static_cast<uint32_t>(random() % interfaces.size());
            if (what == 3)
              b.obsolete(static_cast<uint16_t>(which), ticks, d, original);
            else
              b.enhanced(which, ticks, d, original);
            expected.push_back({d, original, static_cast<int64_t>(ticks) * interfaces[which].second,
                                interfaces[which].first});
          }
        }
      }
    }
    const Result r = read_all(b.out);
    CHECK(r.packets == expected);
    CHECK(r.counts.unknown_blocks == unknown);
    CHECK(r.counts.malformed + r.counts.malformed_blocks + r.counts.truncated_tail == 0);
  }
}
