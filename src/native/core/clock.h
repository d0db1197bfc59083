// SPDX-License-Identifier: Apache-2.0
// Wall clock for the data path: the CPU's time-stamp counter scaled to nanoseconds
// since the Unix epoch, or clock_gettime where the counter cannot be trusted.
#pragma once

#include <time.h>

#include <atomic>
#include <cstdint>

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

namespace wp {

class Clock {
 public:
  // Calibrates against CLOCK_REALTIME (about 10 ms). `force_fallback` is for tests and
  // for machines whose counter is known to lie.
  explicit Clock(bool force_fallback = false);
  Clock(const Clock&) = delete;
  Clock& operator=(const Clock&) = delete;

  // ns since the Unix epoch. Any thread, no system call while the TSC is in use.
  int64_t now() const noexcept {
#if defined(__x86_64__)
    if (tsc_) {
      for (;;) {
        const uint32_t before = version_.load(std::memory_order_acquire);
        const uint64_t base = base_tsc_.load(std::memory_order_relaxed);
        const int64_t base_ns = base_ns_.load(std::memory_order_relaxed);
        const uint64_t mult = mult_.load(std::memory_order_relaxed);
        std::atomic_thread_fence(std::memory_order_acquire);
        if ((before & 1) == 0 && before == version_.load(std::memory_order_relaxed)) {
          const auto delta = static_cast<int64_t>(__rdtsc() - base);
          return base_ns + static_cast<int64_t>((static_cast<__int128>(delta) * mult) >> kShift);
        }
      }
    }
#endif
    return realtime();
  }

  // Follows slewing and steps of CLOCK_REALTIME; cheap (about 100 ns), any thread, does
  // nothing when another thread is at it or the last call was under 10 ms ago.
  void recalibrate() noexcept;

  bool uses_tsc() const noexcept {
    return tsc_;
  }
  const char* source() const noexcept {
    return tsc_ ? "tsc" : "clock_gettime";
  }
  double tsc_hz() const noexcept;

  static int64_t realtime() noexcept {
    timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return t.tv_sec * 1'000'000'000LL + t.tv_nsec;
  }

  // ns by CLOCK_MONOTONIC: for timeouts, which a step of the wall clock must not stretch.
  static int64_t steady() noexcept {
    timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1'000'000'000LL + t.tv_nsec;
  }

  // The process's clock, calibrated when first asked for.
  static Clock& process();

 private:
  static constexpr int kShift = 32;
  struct Sample {
    uint64_t tsc;
    int64_t ns;
  };
  static Sample sample() noexcept;
  void publish(uint64_t tsc, int64_t ns, uint64_t mult) noexcept;

  bool tsc_ = false;
  std::atomic<uint32_t> version_{0};
  std::atomic<uint64_t> base_tsc_{0};
  std::atomic<int64_t> base_ns_{0};
  std::atomic<uint64_t> mult_{0};
  Sample origin_{};
  std::atomic_flag calibrating_ = ATOMIC_FLAG_INIT;
};

}  // namespace wp
