// SPDX-License-Identifier: Apache-2.0
#include "core/telemetry.h"

#include <doctest/doctest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
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
