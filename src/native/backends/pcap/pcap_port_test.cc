// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <functional>
#include <map>
#include <string>

#include "backends/builtin.h"
#include "backends/pcap/capture_bytes_test.h"
#include "backends/pcap/capture_reader.h"
#include "backends/pcap/capture_writer.h"
#include "backends/pcap/replay_pace.h"
#include "core/batch_storage.h"
#include "core/error.h"
#include "net/frame_builder.h"

using namespace wp;
using wp::pcap::testing::Build;
using wp::pcap::testing::Bytes;

namespace {

// A path of its own that goes away with the test.
struct TempFile {
  std::string path;
  explicit TempFile(const std::string& suffix, const Bytes& content = {}) {
    char name[] = "/tmp/wirepath_pcap_XXXXXX";
    const int fd = mkstemp(name);
    REQUIRE(fd >= 0);
    ::close(fd);
    std::remove(name);
    path = name + suffix;
    if (!content.empty()) write(content);
  }
  ~TempFile() { std::remove(path.c_str()); }
  void write(const Bytes& content) const {
    std::ofstream(path, std::ios::binary)
        .write(reinterpret_cast<const char*>(content.data()),
               static_cast<std::streamsize>(content.size()));
  }
  Bytes content() const {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
};

Steering everything() {
  Steering s;
  s.everything = true;
  return s;
}

std::unique_ptr<Port> open(const std::string& path, const Steering& steering = everything(),
                           std::map<std::string, std::string> options = {}, uint32_t batch = 8) {
  register_backend(kPcapBackend);
  return open_port("pcap:" + path, steering, std::move(options), batch);
}

std::map<std::string, uint64_t> stats(Port& port) {
  std::map<std::string, uint64_t> out;
  for (const auto& [name, value] : port.stats()) out[name] = value;
  return out;
}

struct Frame {
  Bytes bytes;
  int64_t timestamp;
  bool operator==(const Frame&) const = default;
};

std::vector<Frame> drain(Port& port, uint32_t batch = 8) {
  BatchStorage storage(batch);
  std::vector<Frame> out;
  while (!port.finished()) {
    port.rx(0, *storage);
    for (uint32_t i = 0; i < storage->count; i++)
      out.push_back(
          {Bytes(storage->data[i], storage->data[i] + storage->length[i]), storage->timestamp[i]});
    port.release(0, *storage);
    if (!port.finished()) port.wait(0, 1000);
  }
  return out;
}

Bytes udp(uint16_t port, uint16_t payload = 10) {
  Bytes out(net::kUdp4HeaderBytes + payload, 0xab);
  net::UdpFlow flow;
  flow.destination_ip = {239, 1, 1, 1};
  flow.destination_port = port;
  net::write_udp4_headers(out.data(), flow, payload);
  return out;
}

Bytes without_ethernet(const Bytes& frame) {
  return Bytes(frame.begin() + 14, frame.end());
}
Bytes join(Bytes a, const Bytes& b) {
  return a.insert(a.end(), b.begin(), b.end()), a;
}

std::string error_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

const std::string& text(const Info& info, const std::string& name) {
  for (const auto& [key, value] : info)
    if (key == name) return std::get<std::string>(value);
  FAIL("no field " << name);
  static const std::string none;
  return none;
}

}  // namespace

TEST_CASE("pcap port: frames, stamps and counters of a capture") {
  Build b;
  b.pcap_header(0xa1b23c4d);
  for (uint16_t i = 0; i < 20; i++) b.record(1000u + i, i, udp(9000), 52);
  b.record(2000, 0, udp(9000), 999);
  b.u32(1).u32(2);  // and a cut record
  const TempFile file(".pcap", b.out);
  const auto port = open(file.path);
  const auto frames = drain(*port);
  REQUIRE(frames.size() == 21);
  CHECK(frames[7] == Frame{udp(9000), 1'007'000'000'007});
  auto s = stats(*port);
  CHECK(s["rx_packets"] == 21);
  CHECK(s["rx_bytes"] == 21 * 52);
  CHECK(s["truncated_packets"] == 1);
  CHECK(s["truncated_tail"] == 1);
  CHECK(s["held"] == 0);
  CHECK(port->capabilities().finite);
  CHECK(text(port->info(), "timestamp_source") == "capture (nanosecond)");
}

TEST_CASE("pcap port: packets of the file = received + every drop") {
  Build b;
  b.section().interface(1, 0).interface(147, 0).interface(101, 0);  // Ethernet, user, raw IP
  for (int i = 0; i < 5; i++) {
    b.enhanced(0, 1, udp(9001), 52);
    b.enhanced(0, 1, udp(9002), 52);
    b.enhanced(1, 1, {1, 2, 3}, 3);
    b.enhanced(2, 1, {0x10, 0, 0}, 3);  // neither IPv4 nor IPv6
    b.enhanced(9, 1, {1}, 1);           // of no interface
    Bytes fragment = udp(9001);
    fragment[20] = 0x20;
    b.enhanced(0, 1, fragment, 52);
  }
  const TempFile file(".pcapng", b.out);
  Steering s;
  FlowRule rule;
  rule.protocol = Protocol::kUdp;
  rule.port = 9001;
  s.rules.push_back(rule);
  const auto port = open(file.path, s);
  CHECK(drain(*port).size() == 5);
  auto counts = stats(*port);
  CHECK(counts["drop.filtered"] == 5);
  CHECK(counts["drop.fragment"] == 5);
  CHECK(counts["drop.link_type"] == 5);
  CHECK(counts["drop.malformed"] == 10);
  uint64_t sum = counts["rx_packets"];
  for (const auto& [name, value] : counts)
    if (name.starts_with("drop.")) sum += value;
  CHECK(sum == 30);
}

TEST_CASE("pcap port: link types become Ethernet, in every pass alike") {
  const Bytes ip = without_ethernet(udp(9000));
  Bytes plain(12, 0);
  plain.insert(plain.end(), {8, 0});
  const Bytes from_zero = join(plain, ip);
  Bytes from_host = from_zero;
  std::copy_n(Bytes{1, 2, 3, 4, 5, 6}.begin(), 6, from_host.begin() + 6);
  Bytes to_all = from_host;
  std::fill_n(to_all.begin(), 6, 0xff);
  const Bytes sll{0, 1, 0, 1, 0, 6, 1, 2, 3, 4, 5, 6, 0, 0, 8, 0};
  const Bytes sll2{8, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 6, 1, 2, 3, 4, 5, 6, 0, 0};
  for (const bool big : {false, true}) {
    Build b{big, {}};
    b.section();
    for (const uint16_t link : {101, 12, 14, 0, 108, 113, 276}) b.interface(link, 0);
    for (uint32_t i = 0; i < 3; i++) b.enhanced(i, i, ip, 38);
    b.enhanced(3, 3, join(big ? Bytes{0, 0, 0, 2} : Bytes{2, 0, 0, 0}, ip), 42);
    b.enhanced(4, 4, join({0, 0, 0, 2}, ip), 42);
    b.enhanced(5, 5, join(sll, ip), 54);
    b.enhanced(6, 6, join(sll2, ip), 58);
    const TempFile file(".pcapng", b.out);
    const auto port = open(file.path, everything(), {{"loop", "3"}});
    const auto frames = drain(*port);
    REQUIRE(frames.size() == 21);
    for (size_t i = 0; i < 21; i++) {
      const Bytes& want = i % 7 < 5 ? from_zero : i % 7 == 5 ? to_all : from_host;
      CAPTURE(i);
      CAPTURE(big);
      CHECK(frames[i].bytes == want);
    }
    CHECK(stats(*port)["truncated_packets"] == 0);
  }
}

TEST_CASE("pcap port: a stage may write into frames; held ones stay, the next pass is fresh") {
  Build b;
  b.pcap_header(0xa1b2c3d4);
  for (uint16_t i = 0; i < 4; i++) b.record(i + 1u, 0, udp(i), 52);
  const TempFile file(".pcap", b.out);
  const auto port = open(file.path, everything(), {{"loop", "2"}}, 4);
  BatchStorage batch(4);
  REQUIRE(port->rx(0, *batch) == 4);
  for (uint32_t i = 0; i < 4; i++) std::fill_n(batch->data[i], batch->length[i], 0xee);
  batch->verdict[2] = WP_KEEP;
  const uint8_t* held = batch->data[2];
  const uint64_t handle = batch->handle[2];
  port->release(0, *batch);
  CHECK(stats(*port)["held"] == 1);
  CHECK(held[0] == 0xee);
  BatchStorage back(1);
  back->count = 1;
  back->handle[0] = handle;
  back->verdict[0] = WP_DROP;
  port->release(0, *back);
  CHECK(stats(*port)["held"] == 0);
  REQUIRE(port->rx(0, *batch) == 4);
  CHECK(Bytes(batch->data[1], batch->data[1] + 52) == udp(1));
  port->release(0, *batch);
  CHECK(file.content() == b.out);
}

TEST_CASE("pcap port: paced to deadlines from the first packet") {
  Build b;
  b.pcap_header(0xa1b2c3d4);
  for (uint32_t i = 0; i < 5; i++) b.record(10, i * 100'000, udp(1), 52);  // 100 ms apart
  const TempFile file(".pcap", b.out);
  const auto port = open(file.path, everything(), {{"speed", "10"}, {"timestamps", "replay"}});
  const int64_t begin = Clock::realtime();
  const auto frames = drain(*port);
  const int64_t took = Clock::realtime() - begin;
  REQUIRE(frames.size() == 5);
  CHECK(took >= 40'000'000);
  CHECK(took < 2'000'000'000);  // a busy machine
  for (size_t i = 0; i < 5; i++)
    CHECK(frames[i].timestamp - frames[0].timestamp >=
          static_cast<int64_t>(i) * 10'000'000 - 5'000'000);
  // Nothing is handed out before it is due, and rx does not wait for it.
  const auto slow = open(file.path, everything(), {{"speed", "0.01"}});
  BatchStorage batch(8);
  CHECK(slow->rx(0, *batch) == 1);
  CHECK(slow->rx(0, *batch) == 0);
  const int64_t before = Clock::realtime();
  CHECK(!slow->wait(0, 20'000));
  CHECK(Clock::realtime() - before >= 20'000'000);
  CHECK(!slow->finished());
}

TEST_CASE("replay pace: lateness does not add up, odd stamps are harmless") {
  pcap::ReplayPace pace(2);
  CHECK(pace.due(1'000'000'000'000, 500) == 500);
  CHECK(pace.due(1'000'000'000'100, 999'999) == 550);
  CHECK(pace.due(1'000'000'000'400, 999'999) == 700);
  CHECK(pace.due(0, 999'999) == 700);              // no stamp: with the one before
  CHECK(pace.due(999'999'999'000, 999'999) == 0);  // earlier than the first
  pace.next_pass();
  CHECK(pace.due(1'000'000'000'100, 0) == 750);
  CHECK(pace.due(INT64_MAX, 0) > 1'000'000'000'000'000'000);
  CHECK(pace.due(INT64_MIN, 0) < 0);
}

TEST_CASE("pcap port: what is transmitted reads back, in both formats") {
  Build b;
  b.pcap_header(0xa1b23c4d);
  for (uint16_t i = 0; i < 10; i++) b.record(50, i, udp(i, i), 42u + i);
  const TempFile file(".pcap", b.out);
  for (const std::string suffix : {".pcap", ".pcapng"}) {
    const TempFile sent(suffix);
    {
      const auto port = open(file.path, everything(), {{"write", sent.path}}, 16);
      CHECK(port->capabilities().tx);
      BatchStorage batch(16);
      REQUIRE(port->rx(0, *batch) == 10);
      for (uint32_t i = 0; i < 10; i++) batch->verdict[i] = i % 2 ? WP_TX : WP_DROP;
      CHECK(port->tx(0, *batch) == 5);
      auto s = stats(*port);
      CHECK(s["tx_packets"] == 5);
      CHECK(s["tx_bytes"] == 42 * 5 + 1 + 3 + 5 + 7 + 9);
    }
    const auto back = drain(*open(sent.path));
    REQUIRE(back.size() == 5);
    for (uint16_t i = 0; i < 5; i++) {
      const auto n = static_cast<uint16_t>(2 * i + 1);
      CHECK(back[i] == Frame{udp(n, n), 50'000'000'000 + n});
    }
    CHECK(text(open(sent.path)->info(), "format") == suffix.substr(1));
  }
  const auto port = open(file.path, everything(), {}, 16);
  BatchStorage batch(16);
  REQUIRE(port->rx(0, *batch) == 10);
  batch->verdict[0] = WP_TX;
  CHECK(port->tx(0, *batch) == 0);
  CHECK(!port->capabilities().tx);
  CHECK(stats(*port)["drop.tx_unsupported"] == 1);
}

TEST_CASE("capture writer: what a full disk refuses is counted, and the file stays whole") {
  CHECK(error_of([] {
          pcap::CaptureWriter("/dev/full", pcap::WriteFormat::kPcap);
        }).find("No space left") != std::string::npos);
  const TempFile file(".pcapng");
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  const rlimit small{1000, before.rlim_max};
  const auto old = std::signal(SIGXFSZ, SIG_IGN);
  setrlimit(RLIMIT_FSIZE, &small);
  const Bytes frame = udp(1, 58);  // 132 bytes in the file
  {
    pcap::CaptureWriter writer(file.path, pcap::WriteFormat::kPcapng);
    bool flushed[3];
    for (bool& ok : flushed) {
      for (int i = 0; i < 4; i++) CHECK(writer.append(frame.data(), 100, 100, 1));
      ok = writer.flush();
    }
    setrlimit(RLIMIT_FSIZE, &before);
    std::signal(SIGXFSZ, old);
    CHECK((flushed[0] && !flushed[1] && !flushed[2]));
    CHECK(writer.written() == 4);
    CHECK(writer.lost() == 8);
    CHECK(writer.last_error() == EFBIG);
    CHECK(writer.append(frame.data(), 100, 100, 1));  // there is room again
  }
  const auto port = open(file.path);
  CHECK(drain(*port).size() == 5);
  CHECK(stats(*port)["truncated_tail"] == 0);
}

TEST_CASE("pcap port: mistakes are explained") {
  const TempFile gz(".pcap.gz", {0x1f, 0x8b, 8, 0, 1, 2, 3});
  CHECK(error_of([&] { open(gz.path); }).find("gzip -dk") != std::string::npos);
  const TempFile other(".pcap", {'h', 'e', 'l', 'l', 'o'});
  CHECK(error_of([&] { open(other.path); }).find("neither pcap nor pcapng") != std::string::npos);
  const TempFile cut(".pcap", {0xd4, 0xc3, 0xb2, 0xa1, 2, 0});
  CHECK(error_of([&] { open(cut.path); }).find("file header") != std::string::npos);
  CHECK(error_of([&] { open("/nonexistent.pcap"); }).find("No such file") != std::string::npos);
  CHECK(error_of([&] { open("/dev/null"); }).find("not a regular file") != std::string::npos);
  CHECK(error_of([&] { open(""); }).find("device") != std::string::npos);
  Build b;
  const TempFile good(".pcap", b.pcap_header(0xa1b2c3d4).out);
  CHECK(error_of([&] {
          open(good.path, everything(), {{"write", good.path}});
        }).find("another file") != std::string::npos);
  CHECK(good.content() == b.out);
  CHECK(error_of([&] {
          open(good.path, everything(), {{"speed", "-1"}});
        }).find("speed = -1") != std::string::npos);
  CHECK(error_of([&] {
          open(good.path, everything(), {{"loop", "0"}});
        }).find("loop = 0") != std::string::npos);
  CHECK(error_of([&] {
          open(good.path, everything(), {{"timestamps", "x"}});
        }).find("replay") != std::string::npos);
  CHECK(drain(*open(good.path, everything(), {{"loop", "1000000"}})).empty());
}
