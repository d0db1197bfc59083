// SPDX-License-Identifier: Apache-2.0
#include "load/latency_meter.h"

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "core/batch_storage.h"
#include "core/error.h"
#include "feed/udp_framer.h"
#include "load/probe.h"

using namespace wp;
using namespace wp::load;

namespace {

constexpr int64_t kMs = 1'000'000;
constexpr int64_t kStart = 1'700'000'000'000'000'000;

class FakeClock final : public MeterClock {
 public:
  int64_t time = kStart;
  int64_t now() noexcept override { return time; }
  void sleep(int64_t ns) noexcept override { time += ns; }
};

std::vector<uint8_t> frame(const Probe& probe, const char* to = "239.1.1.1") {
  feed::UdpFramerOptions flow;
  flow.destination_ip = to;
  flow.source_ip = std::strchr(to, ':') ? "fd00::1" : "10.0.0.1";
  const feed::UdpFramer framer(flow, true);
  std::vector<uint8_t> out(framer.header_bytes() + 20);
  probe.write(out.data() + framer.header_bytes());
  framer.finish(out.data(), 20);
  return out;
}

// A receiver with a queue: frames that have arrived wait until the stage is called again.
struct Receiver {
  std::shared_ptr<FakeClock> clock = std::make_shared<FakeClock>();
  LatencyMeter meter{clock};
  BatchStorage batch{64};

  void give(const std::vector<std::vector<uint8_t>>& frames, int64_t stamp = 0) {
    batch->count = static_cast<uint32_t>(frames.size());
    for (uint32_t i = 0; i < batch->count; i++) {
      batch->data[i] = const_cast<uint8_t*>(frames[i].data());
      batch->length[i] = static_cast<uint32_t>(frames[i].size());
      batch->timestamp[i] = stamp;
      batch->verdict[i] = WP_DROP;
    }
    CHECK(meter.process(*batch));
  }
  const MeterRun& run() const { return *meter.run(); }
};

MeterOptions options(uint64_t count) {
  MeterOptions out;
  out.run = 9;
  out.count = count;
  out.start = kStart;
  return out;
}

}  // namespace

TEST_CASE("latency meter: latency counts from the intended time, each packet once") {
  Receiver r;
  r.meter.begin(options(10));
  r.clock->time = kStart + 5'000;
  r.give({frame({9, 0, kStart}), frame({9, 1, kStart + 1'000})}, kStart + 4'900);
  r.clock->time = kStart + 9'000;
  r.give({frame({9, 3, kStart + 3'000}, "ff15::1"), frame({9, 2, kStart + 2'000})}, kStart + 8'000);
  r.give({frame({9, 3, kStart + 3'000}), frame({8, 4, kStart}), frame({9, 10, kStart}),
          std::vector<uint8_t>(60, 0xff)});
  const MeterRun& run = r.run();
  CHECK(run.received == 4);
  CHECK(run.duplicates == 1);
  CHECK(run.reordered == 1);
  CHECK(run.other_run == 1);
  CHECK(run.outside == 1);
  CHECK(run.foreign == 1);
  CHECK(run.latency->total() == 4);
  CHECK(run.latency->min() == 4'000);
  CHECK(run.latency->max() == 7'000);
  CHECK(run.from_stamp->total() == 4);
  CHECK(run.from_stamp->min() == 100);
  CHECK(run.from_stamp->max() == 1'000);
  CHECK(run.variation->total() == 1);  // only 0 and 1 came as neighbours
  CHECK(run.variation->max() == 1'000);
  CHECK(run.first_ns == kStart + 5'000);
  CHECK(run.last_ns == kStart + 9'000);
}

TEST_CASE("latency meter: a receiver that stalls for 50 ms shows it in full in p99.9") {
  // 10,000 packets a second for 5 seconds; each is seen 4 µs after it was meant to leave, as long
  // as the receiver is not standing still. It stalls 50 ms in the middle.
  constexpr int64_t kGap = 100'000;
  constexpr uint64_t kCount = 50'000;
  constexpr int64_t kStall = 50 * kMs;
  Receiver r;
  MeterOptions o = options(kCount);
  o.stall_ns = kStall;
  o.stall_after_ns = 2'500 * kMs;
  o.bin_ns = 100 * kMs;
  o.bins = 50;
  r.meter.begin(o);
  int64_t& now = r.clock->time;
  for (uint64_t next = 0; next < kCount;) {
    const int64_t arrival = kStart + static_cast<int64_t>(next) * kGap + 4'000;
    now = std::max(now, arrival);
    std::vector<std::vector<uint8_t>> burst;  // all that is there
    while (next < kCount && burst.size() < 64 &&
           kStart + static_cast<int64_t>(next) * kGap + 4'000 <= now) {
      burst.push_back(
          frame({9, static_cast<uint32_t>(next), kStart + static_cast<int64_t>(next) * kGap}));
      next++;
    }
    r.give(burst);
  }
  const MeterRun& run = r.run();
  CHECK(run.received == kCount);
  CHECK(run.stalled_ns == kStall);
  // A packet meant to leave t after the stall's begin waits 50 ms - t, so the slowest thousandth
  // of five seconds' packets begins 5 ms below 50 ms, the slowest ten-thousandth 0.5 ms below.
  const auto in_full = [&](double q) { return static_cast<double>(run.latency->quantile(q)); };
  CHECK(in_full(0.999) == doctest::Approx(45.0e6).epsilon(0.005));
  CHECK(in_full(0.9999) == doctest::Approx(49.5e6).epsilon(0.005));
  CHECK(in_full(1.0) == doctest::Approx(50.0e6).epsilon(0.005));
  CHECK(in_full(0.98) == doctest::Approx(4'000).epsilon(0.01));
  // Packets above 1 ms: those of 49 ms at 10 a millisecond.
  uint64_t above = 0;
  for (size_t i = Histogram::index_of(kMs); i < Histogram::kBuckets; i++)
    above += run.latency->count_at(i);
  CHECK(above == doctest::Approx(490).epsilon(0.01));
  // A sender that had waited for the receiver would have kept one slow packet of 50,000.
  REQUIRE(run.timeline.size() == 50);
  CHECK(run.timeline[24]->max() == 4'000);
  CHECK(run.timeline[25]->max() == doctest::Approx(50.0e6).epsilon(0.005));
  CHECK(run.timeline[26]->max() == 4'000);
  CHECK(run.timeline[25]->total() == 1'000);
}

TEST_CASE("latency meter: a new run forgets the one before") {
  Receiver r;
  r.give({frame({9, 0, kStart})});  // no run yet: nothing is kept, nothing fails
  CHECK(r.meter.run() == nullptr);
  r.meter.begin(options(10));
  r.give({frame({9, 0, kStart})});
  CHECK(r.run().received == 1);
  MeterOptions next = options(10);
  next.run = 10;
  r.meter.begin(next);
  r.give({frame({9, 1, kStart}), frame({10, 0, kStart})});
  CHECK(r.run().received == 1);
  CHECK(r.run().other_run == 1);
}

TEST_CASE("latency meter: runs begin while the worker is at work") {
  auto clock = std::make_shared<FakeClock>();
  LatencyMeter meter(clock);
  std::atomic<bool> stop{false};
  std::atomic<uint16_t> current{1};
  std::thread worker([&] {
    BatchStorage batch(1);
    while (!stop.load()) {
      const std::vector<uint8_t> bytes = frame({current.load(), 0, kStart});
      batch->count = 1;
      batch->data[0] = const_cast<uint8_t*>(bytes.data());
      batch->length[0] = static_cast<uint32_t>(bytes.size());
      meter.process(*batch);
    }
  });
  for (uint16_t run = 1; run <= 300; run++) {
    MeterOptions o = options(1);
    o.run = run;
    meter.begin(o);
    current.store(run);
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (meter.run()->received == 0 && std::chrono::steady_clock::now() < limit)
      std::this_thread::yield();
    REQUIRE(meter.run()->received == 1);
    REQUIRE(meter.run()->latency->total() == 1);
  }
  stop = true;
  worker.join();
}

TEST_CASE("latency meter: unusable options name the field") {
  LatencyMeter meter;
  const auto refused = [&](MeterOptions o, const char* field) {
    std::string what;
    try {
      meter.begin(o);
    } catch (const Error& error) {
      what = error.what();
    }
    CHECK(what.starts_with(field));
  };
  refused(options(0), "count = 0");
  MeterOptions o = options(1);
  o.bins = 5'000;
  refused(o, "bins = 5000");
  o = options(1);
  o.bin_ns = 0;
  refused(o, "bin_ns = 0");
  o = options(1);
  o.stall_ns = -1;
  refused(o, "stall_ns = -1");
}
