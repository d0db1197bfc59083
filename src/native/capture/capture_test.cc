// SPDX-License-Identifier: Apache-2.0
// Taps from the worker to the file.
#include <doctest/doctest.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <memory>
#include <thread>
#include <vector>

#include "backends/builtin.h"
#include "backends/pcap/capture_reader.h"
#include "capture/capture_session.h"
#include "capture/tap_source.h"
#include "core/error.h"
#include "core/worker.h"

using namespace wp;
using namespace std::chrono_literals;

namespace {

std::shared_ptr<Port> null_port(const std::string& options) {
  register_backend(kNullBackend);
  return open_port("null:" + options, {true, {}}, {}, 64);
}

std::string self() {
  return Telemetry::process().name();
}

std::shared_ptr<capture::TapSource> tap(const Port& port, uint64_t ring = 1 << 22,
                                        uint32_t snap = 262144,
                                        std::vector<BpfInstruction> filter = {}) {
  return std::make_shared<capture::TapSource>(self(), port.spec(), ring, snap, filter);
}

class Cycle final : public Stage {
 public:
  const char* name() const noexcept override { return "cycle"; }
  bool process(wp_batch& batch) noexcept override {
    for (uint32_t i = 0; i < batch.count; i++) batch.verdict[i] = static_cast<uint8_t>(seen_++ % 4);
    return true;
  }

 private:
  uint64_t seen_ = 0;
};

struct Folder {
  Folder() {
    char name[] = "/tmp/wirepath_capture_XXXXXX";
    path = mkdtemp(name);
  }
  ~Folder() { std::filesystem::remove_all(path); }
  std::filesystem::path path;
};

std::vector<uint8_t> read(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

}  // namespace

TEST_CASE("capture: what a worker received, with its verdicts, and what it sent") {
  const auto port = null_port(",frames=1000");
  const auto source = tap(*port);
  Worker worker({});
  worker.add_port(port);
  worker.add_stage(std::make_shared<Cycle>());
  worker.start();
  worker.join();
  CHECK(source->followers() == 1);
  std::vector<uint64_t> in(6), out(1);
  uint32_t longest = 0;
  while (const FrameRecord* record = source->peek(0)) {
    if (record->direction == FrameDirection::kIn) {
      in.at(record->verdict)++;
    } else {
      out[0]++;
    }
    longest = std::max(longest, record->captured);
    CHECK(record->cookie == 0);  // no address leaves the process
    CHECK(record->timestamp > 1'600'000'000'000'000'000);
    source->consume(0, record);
  }
  CHECK(in == std::vector<uint64_t>{250, 250, 250, 250, 0, 0});
  CHECK(out[0] == 250);
  CHECK(longest >= 60);
  const auto counts = source->counts(0);
  CHECK(counts.seen == 1250);
  CHECK(counts.dropped + counts.filtered + counts.broken == 0);
}

TEST_CASE("capture: a full ring loses frames, all counted, and holds nobody up") {
  const auto port = null_port(",frames=100000");
  const auto source = tap(*port, 4096);
  Worker worker({});
  worker.add_port(port);
  worker.start();
  worker.join();
  uint64_t there = 0;
  while (const FrameRecord* record = source->peek(0)) {
    there++;
    source->consume(0, record);
  }
  CHECK(there > 0);
  CHECK(source->counts(0).seen == 100000);
  CHECK(source->counts(0).dropped == 100000 - there);
}

TEST_CASE("capture: the filter and the snap length are the tap's work") {
  const auto port = null_port(",frames=1000");
  const auto none = std::vector<BpfInstruction>{{0x06, 0, 0, 0}};
  SUBCASE("nothing wanted") {
    const auto source = tap(*port, 1 << 20, 64, none);
    Worker worker({});
    worker.add_port(port);
    worker.start();
    worker.join();
    CHECK(source->peek(0) == nullptr);
    CHECK(source->counts(0).filtered == 1000);
  }
  SUBCASE("the beginning of each") {
    const auto source = tap(*port, 1 << 20, 20);
    Worker worker({});
    worker.add_port(port);
    worker.start();
    worker.join();
    REQUIRE(source->peek(0));
    CHECK(source->peek(0)->captured == 20);
    CHECK(source->peek(0)->original >= 60);
  }
  SUBCASE("a filter that is none is refused") {
    CHECK_THROWS_AS(tap(*port, 1 << 20, 64, {{0x05, 0, 0, 9}, {0x06, 0, 0, 0}}), Error);
  }
}

TEST_CASE("capture: one at a time, ports by name, and none when the port is closed") {
  auto port = null_port("");
  CHECK(std::ranges::count(capture::TapSource::ports(self()), port->spec()) == 1);
  auto source = tap(*port);
  CHECK_THROWS_WITH_AS(tap(*port), doctest::Contains("is captured by process"), Error);
  CHECK(source->renew());
  source->stop();
  CHECK_FALSE(source->renew());
  source = tap(*port);
  CHECK(source->renew());
  port.reset();
  CHECK_FALSE(source->renew());
  CHECK_THROWS_WITH_AS(capture::TapSource(self(), "null:,no", 4096, 64, {}),
                       doctest::Contains("has no port"), Error);
}

TEST_CASE("capture: a capturer that was killed is let go") {
  const auto port = null_port("");
  Telemetry::process();
  const std::string segment = self();
  const pid_t child = fork();
  if (child == 0) {
    const capture::TapSource source(segment, "null:", 1 << 16, 64, {});
    pause();
    _exit(0);
  }
  while (!port->tap().on()) std::this_thread::yield();
  Worker worker({.idle = IdlePolicy::kSpin});
  worker.add_port(port);
  worker.start();
  std::this_thread::sleep_for(50ms);
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  SUBCASE("by itself") {
    const auto end = std::chrono::steady_clock::now() + 20s;
    while (port->tap().on() && std::chrono::steady_clock::now() < end)
      std::this_thread::sleep_for(10ms);
    CHECK_FALSE(port->tap().on());
  }
  SUBCASE("at once when another one comes") {
    const auto source = tap(*port, 1 << 22);
    const auto end = std::chrono::steady_clock::now() + 5s;
    while (source->counts(0).seen == 0 && std::chrono::steady_clock::now() < end)
      std::this_thread::sleep_for(1ms);
    CHECK(source->counts(0).seen > 0);
  }
  worker.stop();
  worker.join();
}

TEST_CASE("capture: two ports into one file, in the order of time, files by size") {
  const Folder folder;
  const auto a = null_port(",frames=3000"), b = null_port(",frames=2000");
  const auto sources = std::vector<std::shared_ptr<capture::FrameSource>>{tap(*a), tap(*b)};
  capture::OutputConfig config{.path = folder.path / "all.pcapng"};
  SUBCASE("one file") {}
  SUBCASE("files of 20000 bytes, the last three kept") {
    config.file_bytes = 20'000;
    config.ring_files = 3;
  }
  const bool one = config.file_bytes == 0;
  capture::CaptureSession session(
      sources, {1, 1},
      std::make_unique<capture::CaptureOutput>(
          config, std::vector<pcap::InterfaceOptions>{{.name = "a"}, {.name = "b"}}));
  Worker worker({});
  worker.add_port(a);
  worker.add_port(b);
  worker.start();
  worker.join();
  CHECK_FALSE(session.run(10'000'000'000, 5000));
  session.finish(5000);
  CHECK(session.output().written() == 5000);
  CHECK(session.output().delivered(0) == 3000);
  CHECK(session.output().files().size() == (one ? 1u : 3u));
  uint64_t packets = 0, entries = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path)) {
    (void)entry;
    entries++;
  }
  CHECK(entries == session.output().files().size());
  int64_t last = 0;
  for (const std::string& file : session.output().files()) {
    const auto bytes = read(file);
    CHECK((one || bytes.size() < 21'000));
    pcap::CaptureReader reader(bytes);
    pcap::CapturePacket packet;
    while (reader.next(packet)) {
      CHECK(packet.timestamp >= last);
      last = packet.timestamp;
      packets++;
    }
    CHECK(reader.offset() == bytes.size());
  }
  CHECK((one ? packets == 5000 : packets < 5000));
}

TEST_CASE("capture: a full disk ends the capture with a whole file") {
  const auto port = null_port(",frames=100");
  const auto output = [] { return capture::CaptureOutput({.path = "/dev/full"}, {{.name = "a"}}); };
  CHECK_THROWS_WITH_AS(output(), doctest::Contains("No space left"), Error);
  CHECK_THROWS_WITH_AS(capture::CaptureOutput({.path = "/nowhere/a.pcapng"}, {{.name = "a"}}),
                       doctest::Contains("cannot write the capture /nowhere/a.pcapng"), Error);
}

TEST_CASE("capture: a pipe that nobody reads does not hold the capturer") {
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  const auto port = null_port(",frames=20000");
  const auto source = tap(*port, 1 << 24);
  capture::CaptureSession session(
      {source}, {1},
      std::make_unique<capture::CaptureOutput>(capture::OutputConfig{.fd = ends[1]},
                                               std::vector<pcap::InterfaceOptions>{{}}));
  Worker worker({});
  worker.add_port(port);
  worker.start();
  worker.join();
  const auto before = std::chrono::steady_clock::now();
  CHECK(session.run(100'000'000, 0));
  CHECK(std::chrono::steady_clock::now() - before < 2s);
  CHECK(session.output().written() == 0);
  close(ends[0]);
  signal(SIGPIPE, SIG_IGN);
  CHECK_THROWS_WITH_AS(session.run(100'000'000, 0), doctest::Contains("reader"), Error);
  close(ends[1]);
}
