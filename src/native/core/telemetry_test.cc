// SPDX-License-Identifier: Apache-2.0
#include "core/telemetry.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstring>
#include <memory>
#include <string>

#include "core/error.h"

namespace {
constexpr std::array<const char*, 2> kNames{"rx_packets", "drop.full"};

const wp::TelemetryEntry* find(const std::vector<wp::TelemetryEntry>& entries,
                               const std::string& name) {
  for (const auto& e : entries)
    if (e.name == name) return &e;
  return nullptr;
}
}  // namespace

TEST_CASE("telemetry: another view of the segment sees counters and histograms move") {
  wp::Telemetry telemetry("telemetry_test");
  wp::Counter* cells = telemetry.counters("port/x", kNames);
  wp::Histogram* histogram = telemetry.histogram("feed/x/latency_ns");
  const auto reader = wp::Telemetry::attach("telemetry_test");
  cells[1].add(7);
  histogram->record(1000);
  const auto entries = reader->entries();
  REQUIRE(find(entries, "port/x/drop.full"));
  CHECK(find(entries, "port/x/drop.full")->value == 7);
  CHECK(find(entries, "port/x/rx_packets")->value == 0);
  REQUIRE(find(entries, "feed/x/latency_ns"));
  CHECK(find(entries, "feed/x/latency_ns")->histogram->total() == 1);
}

TEST_CASE("telemetry: groups of the same name stay apart") {
  wp::Telemetry telemetry("");
  telemetry.counters("port/x", kNames)[0].set(1);
  telemetry.counters("port/x", kNames)[0].set(2);
  const auto entries = telemetry.entries();
  CHECK(find(entries, "port/x/rx_packets")->value == 1);
  REQUIRE(find(entries, "port/x#2/rx_packets"));
  CHECK(find(entries, "port/x#2/rx_packets")->value == 2);
}

TEST_CASE("telemetry: a port's own group goes with those of its queues") {
  wp::Telemetry telemetry("");
  for (int port = 0; port < 2; port++)
    for (const char* group : {"port/x/q0", "port/x/q1", "port/x"})
      telemetry.counters(group, kNames);
  const auto entries = telemetry.entries();
  for (const char* name : {"port/x/q0/drop.full", "port/x/q1/drop.full", "port/x/drop.full",
                           "port/x/q0#2/drop.full", "port/x/q1#2/drop.full", "port/x#2/drop.full"})
    CHECK_MESSAGE(find(entries, name), name);
}

TEST_CASE("telemetry: the segment is readable by its owner alone") {
  wp::Telemetry telemetry("telemetry_mode_test");
  struct stat st {};
  REQUIRE(stat("/dev/shm/wirepath.telemetry_mode_test", &st) == 0);
  CHECK((st.st_mode & 0777) == 0600);
}

TEST_CASE("telemetry: a killed process's segment is taken away, a live one's stays") {
  int ready[2];
  REQUIRE(pipe(ready) == 0);
  const pid_t child = fork();
  if (child == 0) {
    wp::Telemetry telemetry("telemetry_kill_test");
    if (write(ready[1], "x", 1) == 1) pause();
    _exit(1);
  }
  char byte;
  REQUIRE(read(ready[0], &byte, 1) == 1);
  wp::SharedMemory::remove_abandoned();
  CHECK(access("/dev/shm/wirepath.telemetry_kill_test", F_OK) == 0);
  CHECK_THROWS_AS(wp::Telemetry("telemetry_kill_test"), wp::Error);
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  wp::SharedMemory::remove_abandoned();
  CHECK(access("/dev/shm/wirepath.telemetry_kill_test", F_OK) != 0);
  close(ready[0]);
  close(ready[1]);
}

TEST_CASE(
    "telemetry: what is given back is used again, so that opening and closing never fills it") {
  wp::Telemetry telemetry("telemetry_reuse_test");
  const auto reader = wp::Telemetry::attach("telemetry_reuse_test");
  wp::Counter* stays = telemetry.counters("port/stays", kNames);
  stays[0].set(42);
  for (int i = 0; i < 20'000; i++) {
    wp::Counter* cells = telemetry.counters("port/x", kNames);
    wp::Histogram* histogram = telemetry.histogram("feed/x/latency_ns");
    REQUIRE(cells[0].value() == 0);
    REQUIRE(histogram->total() == 0);
    cells[0].set(7);
    histogram->record(5);
    if (i % 1000 == 0) {
      const auto entries = reader->entries();
      REQUIRE(entries.size() == 5);
      REQUIRE(find(entries, "port/x/rx_packets"));
      REQUIRE(find(entries, "port/x/rx_packets")->value == 7);
    }
    telemetry.release(cells);
    telemetry.release(histogram);
  }
  const auto entries = reader->entries();
  CHECK(entries.size() == 2);
  CHECK(find(entries, "port/stays/rx_packets")->value == 42);
}

TEST_CASE("telemetry: long names keep their ends and stay apart") {
  wp::Telemetry telemetry("");
  const std::string group = "port/pcap:/" + std::string(150, 'd') + "/day.pcap";
  telemetry.counters(group, kNames)[1].set(1);
  telemetry.counters(group, kNames)[1].set(2);
  telemetry.histogram(group + "/wire_to_ring_ns");
  const auto entries = telemetry.entries();
  REQUIRE(entries.size() == 5);
  for (size_t i = 0; i < entries.size(); i++) {
    CHECK(entries[i].name.size() < wp::Telemetry::kNameBytes);
    CHECK(entries[i].name.starts_with("port/pcap:/ddd"));
    for (size_t j = 0; j < i; j++) CHECK(entries[i].name != entries[j].name);
  }
  CHECK(entries[1].name.ends_with("/day.pcap/drop.full"));
  CHECK(entries[3].name.ends_with("/day.pcap#2/drop.full"));
  CHECK(entries[4].name.ends_with("/day.pcap/wire_to_ring_ns"));
}

TEST_CASE("telemetry: an entry that points outside is not followed") {
  wp::Telemetry telemetry("telemetry_hostile_test");
  telemetry.counters("port/x", kNames);
  const int fd = open("/dev/shm/wirepath.telemetry_hostile_test", O_RDWR);
  REQUIRE(fd >= 0);
  auto* bytes = static_cast<uint8_t*>(
      mmap(nullptr, wp::Telemetry::kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  REQUIRE(bytes != MAP_FAILED);
  const uint64_t outside = UINT64_MAX - 7;  // and eight bytes on is the beginning
  std::memcpy(bytes + 64 + 120, &outside, sizeof outside);
  const auto entries = wp::Telemetry::attach("telemetry_hostile_test")->entries();
  CHECK(entries.size() == 1);
  CHECK(find(entries, "port/x/drop.full"));
  munmap(bytes, wp::Telemetry::kBytes);
  close(fd);
}

TEST_CASE("telemetry: a forked child leaves its parent's segments alone and has its own") {
  auto telemetry = std::make_unique<wp::Telemetry>("telemetry_fork_test");
  wp::Counter* cells = telemetry->counters("port/x", kNames);
  REQUIRE(wp::Telemetry::process().name() == std::to_string(getpid()));
  const pid_t child = fork();
  if (child == 0) {
    const bool own = wp::Telemetry::process().name() == std::to_string(getpid());
    telemetry->release(cells);
    telemetry.reset();
    shm_unlink(("/wirepath." + std::to_string(getpid())).c_str());
    _exit(own ? 0 : 1);
  }
  int status = -1;
  waitpid(child, &status, 0);
  CHECK(status == 0);
  REQUIRE(access("/dev/shm/wirepath.telemetry_fork_test", F_OK) == 0);
  CHECK(find(wp::Telemetry::attach("telemetry_fork_test")->entries(), "port/x/rx_packets"));
}

TEST_CASE("telemetry: segments survive the clearing up of processes that start beside them") {
  const pid_t sweeper = fork();
  if (sweeper == 0)
    for (;;) wp::SharedMemory::remove_abandoned();
  const struct Ended {  // also when the test is
    pid_t pid;
    ~Ended() {
      kill(pid, SIGKILL);
      waitpid(pid, nullptr, 0);
    }
  } ended{sweeper};
  int lost = 0;
  for (int i = 0; i < 3000; i++) {
    const auto memory = wp::SharedMemory::create("telemetry_sweep_test", 4096);
    lost += access("/dev/shm/wirepath.telemetry_sweep_test", F_OK) != 0;
  }
  CHECK(lost == 0);
}
