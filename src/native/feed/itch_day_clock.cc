// SPDX-License-Identifier: Apache-2.0
#include "feed/itch_day_clock.h"

#include <algorithm>

namespace wp::feed {
namespace {

constexpr int64_t kSecond = 1'000'000'000;

// Activity by second of the day: quiet before and after, a peak behind the opening, a lesser
// one before the close.
constexpr uint64_t activity(int64_t second) {
  const auto at = [](int64_t hour, int64_t minute) { return hour * 3600 + minute * 60; };
  if (second < at(7, 0)) return 2;
  if (second < at(9, 25)) return 8;
  if (second < at(9, 30)) return 40;
  if (second < at(9, 35)) return 400;
  if (second < at(10, 0)) return 220;
  if (second < at(11, 30)) return 130;
  if (second < at(14, 0)) return 90;
  if (second < at(15, 30)) return 120;
  if (second < at(15, 55)) return 200;
  if (second < at(16, 0)) return 320;
  return second < at(16, 10) ? 20 : 3;
}

// 1 to 65536, mean 16512: the product of two bytes.
constexpr uint64_t kNoiseMean = 16'512;
uint64_t noise(uint64_t bits) {
  return ((bits & 255) + 1) * ((bits >> 8 & 255) + 1);
}

uint64_t share(uint64_t messages, uint64_t part, uint64_t whole) {
  return static_cast<uint64_t>(static_cast<unsigned __int128>(messages) * part / whole);
}

}  // namespace

ItchDayClock::ItchDayClock(uint64_t seed, int64_t start, int64_t end, uint64_t messages,
                           uint32_t burst)
    : random_(seed), start_(start), end_(end), messages_(messages), burst_(burst), now_(start) {
  const auto seconds = static_cast<size_t>((end - start + kSecond - 1) / kSecond);
  weights_.reserve(seconds);
  uint64_t total = 0, excitement = 0;
  for (size_t i = 0; i < seconds; i++) {
    const int64_t from = start + static_cast<int64_t>(i) * kSecond;
    const uint64_t bits = random_.next();
    excitement = excitement * 7 / 8;
    if ((bits >> 16 & 127) == 0) excitement += kNoiseMean * (1 + (bits >> 23 & 7));
    const uint64_t weight = activity(from / kSecond) * (kNoiseMean + noise(bits) + excitement);
    // The last second may be cut short.
    total += weight * static_cast<uint64_t>(std::min(end - from, kSecond) / 1'000) / 1'000'000 + 1;
    weights_.push_back(total);
  }
}

void ItchDayClock::next_segment() noexcept {
  if (milli_ < kMillis) {
    const uint64_t before = milli_ ? millis_[milli_ - 1] : 0;
    left_ = millis_[milli_] - before;
    milli_++;
    // A later start than the last timestamp: segments never overlap.
    now_ = std::max(now_, second_start_ + static_cast<int64_t>(milli_ - 1) * milli_ns_);
    segment_end_ = second_start_ + static_cast<int64_t>(milli_) * milli_ns_;
    return;
  }
  if (second_ == weights_.size()) {  // more calls than messages: the day's last moment
    now_ = segment_end_ = end_ - 1;
    left_ = UINT64_MAX - 1;
    return;
  }
  const uint64_t until = share(messages_, weights_[second_], weights_.back());
  const uint64_t n = until - planned_;
  planned_ = until;
  const int64_t from = start_ + static_cast<int64_t>(second_) * kSecond;
  const int64_t to = std::min(end_, from + kSecond);
  second_++;
  if (n >= kBusySecond) {
    plan_second(n, from, to);
    return;
  }
  now_ = std::max(now_, from);
  segment_end_ = to;
  left_ = n;
}

void ItchDayClock::plan_second(uint64_t messages, int64_t start, int64_t end) noexcept {
  for (uint64_t& weight : millis_) weight = noise(random_.next());
  for (uint64_t bursts = burst_ > 1 ? 1 + (random_.next() & 1) : 0; bursts; bursts--) {
    const uint64_t bits = random_.next();
    // The peak is a random unit fraction of the largest, down to a quarter.
    uint64_t peak = kNoiseMean * burst_ / (1 + (bits & 3));
    for (size_t at = (bits >> 8) % kMillis; at < kMillis && peak > kNoiseMean / 2; at++) {
      millis_[at] += peak;
      peak /= 2;
    }
  }
  uint64_t total = 0;
  for (const uint64_t weight : millis_) total += weight;
  uint64_t sum = 0;
  for (uint64_t& weight : millis_) {
    sum += weight;
    weight = share(messages, sum, total);
  }
  second_start_ = start;
  milli_ns_ = (end - start) / static_cast<int64_t>(kMillis);
  milli_ = 0;
}

}  // namespace wp::feed
