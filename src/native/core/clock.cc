// SPDX-License-Identifier: Apache-2.0
#include "core/clock.h"

#include <cstdio>
#include <cstring>

namespace wp {
namespace {

#if defined(__x86_64__)
// The kernel measures the counter against other clocks and takes it as clock source only
// where it is constant, does not stop in idle states and agrees between cores.
bool kernel_trusts_tsc() {
  std::FILE* f =
      std::fopen("/sys/devices/system/clocksource/clocksource0/current_clocksource", "r");
  if (!f) return false;
  char name[32] = {};
  const bool read = std::fgets(name, sizeof name, f) != nullptr;
  std::fclose(f);
  return read && (std::strncmp(name, "tsc", 3) == 0 || std::strncmp(name, "kvm-clock", 9) == 0);
}
#endif

}  // namespace

Clock::Sample Clock::sample() noexcept {
  Sample best{};
#if defined(__x86_64__)
  // An interrupt between the two reads would shift the pair: keep the tightest of a few.
  uint64_t width = UINT64_MAX;
  for (int i = 0; i < 8; i++) {
    const uint64_t a = __rdtsc();
    const int64_t ns = realtime();
    const uint64_t b = __rdtsc();
    if (b - a < width) {
      width = b - a;
      best = {a + (b - a) / 2, ns};
    }
  }
#endif
  return best;
}

Clock::Clock(bool force_fallback) {
#if defined(__x86_64__)
  if (force_fallback || !kernel_trusts_tsc()) return;
  origin_ = sample();
  timespec pause{0, 10'000'000};
  nanosleep(&pause, nullptr);
  const Sample s = sample();
  const uint64_t ticks = s.tsc - origin_.tsc;
  const int64_t ns = s.ns - origin_.ns;
  // A step of the wall clock during calibration, or a counter that stands still.
  if (ns < 1'000'000 || ns > 10'000'000'000 || ticks == 0) return;
  publish(s.tsc, s.ns,
          static_cast<uint64_t>((static_cast<unsigned __int128>(ns) << kShift) / ticks));
  tsc_ = true;
#else
  (void)force_fallback;
#endif
}

void Clock::publish(uint64_t tsc, int64_t ns, uint64_t mult) noexcept {
  const uint32_t v = version_.load(std::memory_order_relaxed);
  version_.store(v + 1, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_release);
  base_tsc_.store(tsc, std::memory_order_relaxed);
  base_ns_.store(ns, std::memory_order_relaxed);
  mult_.store(mult, std::memory_order_relaxed);
  version_.store(v + 2, std::memory_order_release);
}

void Clock::recalibrate() noexcept {
  if (!tsc_) return;
#if defined(__x86_64__)
  // Before anything that costs: idle loops call this every time round.
  const uint64_t ticks_since = __rdtsc() - base_tsc_.load(std::memory_order_relaxed);
  const uint64_t now_mult = mult_.load(std::memory_order_relaxed);
  if (static_cast<unsigned __int128>(ticks_since) * now_mult >> kShift < 10'000'000) return;
#endif
  if (calibrating_.test_and_set(std::memory_order_acquire)) return;
  const Sample s = sample();
  const uint64_t since_base = s.tsc - base_tsc_.load(std::memory_order_relaxed);
  const auto base_to_ns = [&](uint64_t ticks) {
    return static_cast<int64_t>(
        (static_cast<unsigned __int128>(ticks) * mult_.load(std::memory_order_relaxed)) >> kShift);
  };
  if (base_to_ns(since_base) >= 10'000'000) {
    const int64_t predicted = base_ns_.load(std::memory_order_relaxed) + base_to_ns(since_base);
    const int64_t error = s.ns - predicted;
    if (error > 100'000'000 || error < -100'000'000) origin_ = s;  // stepped: baseline is void
    uint64_t mult = mult_.load(std::memory_order_relaxed);
    const uint64_t ticks = s.tsc - origin_.tsc;
    const int64_t ns = s.ns - origin_.ns;
    // The longer the baseline, the better the rate; a window of ten minutes follows slewing.
    if (ns > 10'000'000)
      mult = static_cast<uint64_t>((static_cast<unsigned __int128>(ns) << kShift) / ticks);
    if (ns > 600'000'000'000) origin_ = s;
    publish(s.tsc, s.ns, mult);
  }
  calibrating_.clear(std::memory_order_release);
}

double Clock::tsc_hz() const noexcept {
  const uint64_t mult = mult_.load(std::memory_order_relaxed);
  return mult ? 1e9 * static_cast<double>(1ULL << kShift) / static_cast<double>(mult) : 0.0;
}

Clock& Clock::process() {
  static Clock clock;
  return clock;
}

}  // namespace wp
