// SPDX-License-Identifier: Apache-2.0
#include "feed/recovery.h"

#include <algorithm>
#include <string>
#include <utility>

#include "core/error.h"

namespace wp::feed {
namespace {

int64_t plus(int64_t time, int64_t ns) {
  int64_t sum = 0;
  return __builtin_add_overflow(time, ns, &sum) ? INT64_MAX : sum;
}

template <class T>
T within(const char* name, T value, T least, T most) {
  if (value < least || value > most) {
    throw config_error(name, std::to_string(value),
                       std::to_string(least) + " to " + std::to_string(most));
  }
  return value;
}

RecoveryOptions checked(const RecoveryOptions& o) {
  within<int64_t>("hold_ns", o.hold_ns, 0, INT64_MAX);
  within<int64_t>("retry_ns", o.retry_ns, 1, INT64_MAX);
  within<int64_t>("max_retry_ns", o.max_retry_ns, o.retry_ns, INT64_MAX);
  within<int64_t>("deadline_ns", o.deadline_ns, 1, INT64_MAX);
  within<uint32_t>("max_attempts", o.max_attempts, 1, UINT32_MAX);
  within<uint64_t>("max_per_request", o.max_per_request, 1, UINT64_MAX);
  within<uint32_t>("max_in_flight", o.max_in_flight, 1, 1 << 16);
  within<uint32_t>("per_second", o.per_second, 0, 1 << 20);
  within<uint32_t>("per_minute", o.per_minute, 0, 1 << 22);
  within<uint32_t>("per_day", o.per_day, 0, 1 << 24);
  within<uint64_t>("max_ranges", o.max_ranges, 1, 1 << 20);
  return o;
}

}  // namespace

Recovery::Recovery(const RecoveryOptions& options)
    : options_(checked(options)),
      second_(options.per_second, kSecond),
      minute_(options.per_minute, 60 * kSecond),
      day_(options.per_day, kDay) {
  ranges_.reserve(options.max_ranges);
  previous_.reserve(options.max_ranges);
  given_up_.reserve(options.max_ranges);
  requests_.reserve(options.max_in_flight);
}

void Recovery::begin() {
  std::swap(ranges_, previous_);
  ranges_.clear();
  given_up_.clear();
  requests_.clear();
}

void Recovery::add(const Range& range) {
  if (ranges_.size() < options_.max_ranges) ranges_.push_back(range);
}

/* A part of a known range that is still missing. */
Recovery::Range Recovery::inherit(const Range& old, uint64_t first, uint64_t last,
                                  int64_t now) const {
  Range part = old;
  part.first = first;
  part.last = last;
  if (part.size() != old.size() && old.attempts != 0) {
    // Something came: the server is there, and may be sending the rest right now.
    part.attempts = 0;
    part.continued = true;
    const bool rest = first > old.first && last == old.last;
    part.due = options_.continue_at_once && rest ? now : plus(now, options_.retry_ns);
  }
  return part;
}

/* The unit's open gaps, with what is known of them from the last time. */
void Recovery::look_at(uint32_t unit, std::span<const SequenceRange> gaps, int64_t now) {
  auto old = previous_.begin();
  while (old != previous_.end() && old->unit != unit) ++old;
  for (const SequenceRange& gap : gaps) {
    uint64_t first = gap.first;
    while (true) {
      while (old != previous_.end() && old->unit == unit && old->last < first) ++old;
      const bool known = old != previous_.end() && old->unit == unit && old->first <= gap.last &&
                         old->since == gap.since;
      const uint64_t known_first = known ? std::max(first, old->first) : 0;
      if (!known || known_first > first) {
        const uint64_t last = known ? known_first - 1 : gap.last;
        add({unit, first, last, gap.since, plus(gap.since, options_.hold_ns), 0, false, false});
        if (!known) break;
      }
      const uint64_t last = std::min(gap.last, old->last);
      add(inherit(*old, known_first, last, now));
      if (last == gap.last) break;
      first = last + 1;
    }
  }
}

void Recovery::decide(int64_t now, int64_t polled_until) {
  const int64_t seen = std::min(now, polled_until);
  size_t kept = 0;
  for (const Range& range : ranges_) {
    AbandonReason reason = AbandonReason::kTimeout;
    if (range.refused) {
      reason = AbandonReason::kRefused;
    } else if (seen >= plus(std::max(range.since, forgiven_), options_.deadline_ns)) {
      reason = AbandonReason::kDeadline;
    } else if (spent(range) && seen >= range.due) {
      reason = AbandonReason::kAttempts;
    } else {
      ranges_[kept++] = range;
      continue;
    }
    given_up_.push_back({range.unit, range.first, range.last, reason});
    ++counters_.ranges_abandoned;
    counters_.abandoned += range.size();
  }
  ranges_.resize(kept);
  ask(now);
  deadline_ = INT64_MAX;
  for (const Range& range : ranges_) {
    deadline_ = std::min(deadline_, plus(std::max(range.since, forgiven_), options_.deadline_ns));
    deadline_ = std::min(deadline_, std::max(range.due, allowed_at()));
  }
}

void Recovery::ask(int64_t now) {
  size_t in_flight = 0;
  for (const Range& range : ranges_) in_flight += range.attempts != 0 && range.due > now;
  for (size_t i = 0; i < ranges_.size(); ++i) {
    if (ranges_[i].due > now || spent(ranges_[i])) continue;
    if (in_flight >= options_.max_in_flight || allowed_at() > now) {
      counters_.waited += !std::exchange(waiting_, true);
      return;
    }
    const uint64_t first = ranges_[i].first;
    uint64_t last = ranges_[i].last;
    if (ranges_[i].size() > options_.max_per_request) {
      last = first + options_.max_per_request - 1;
      // The rest is a range of its own; without room for it, it is found again with the gap.
      Range rest = ranges_[i];
      rest.first = last + 1;
      ranges_[i].last = last;
      if (ranges_.size() < options_.max_ranges) {
        ranges_.insert(ranges_.begin() + static_cast<ptrdiff_t>(i) + 1, rest);
      }
    }
    size_t end = i + 1;
    for (; end < ranges_.size(); ++end) {
      const Range& next = ranges_[end];
      if (next.unit != ranges_[i].unit || next.due > now || spent(next) ||
          next.first - last - 1 > options_.coalesce ||
          next.last - first >= options_.max_per_request) {
        break;
      }
      last = next.last;
    }
    RecoveryRequest request{ranges_[i].unit, first, last - first + 1, 1};
    bool continued = false;
    for (size_t k = i; k < end; ++k) {
      Range& range = ranges_[k];
      continued |= range.continued;
      range.continued = false;
      request.attempt = std::max(request.attempt, ++range.attempts);
      range.due = plus(now, wait_after(range.attempts));
    }
    requests_.push_back(request);
    second_.use(now);
    minute_.use(now);
    day_.use(now);
    ++in_flight;
    ++counters_.requests;
    counters_.requested += request.count;
    counters_.retries += request.attempt > 1;
    counters_.continued += continued;
    i = end - 1;
  }
  waiting_ = false;
}

int64_t Recovery::allowed_at() const {
  return std::max({paused_until_, second_.allowed_at(), minute_.allowed_at(), day_.allowed_at()});
}

int64_t Recovery::wait_after(uint32_t attempts) const {
  int64_t wait = options_.retry_ns;
  for (uint32_t i = 1; i < attempts && wait < options_.max_retry_ns; ++i) {
    wait = wait > options_.max_retry_ns / 2 ? options_.max_retry_ns : wait * 2;
  }
  return std::min(wait, options_.max_retry_ns);
}

void Recovery::refuse(uint32_t unit, uint64_t first, uint64_t last) {
  ++counters_.refused;
  for (Range& range : ranges_) {
    if (range.unit == unit && range.first >= first && range.last <= last) range.refused = true;
  }
  deadline_ = INT64_MIN;
}

void Recovery::pause(int64_t until) {
  paused_until_ = std::max(paused_until_, until);
  for (Range& range : ranges_) {
    if (range.attempts == 0) continue;
    --range.attempts;  // the request was none
    range.due = std::min(range.due, until);
  }
}

void Recovery::resume(uint64_t requests_in_day, int64_t now) {
  for (uint64_t i = 0; i < std::min<uint64_t>(requests_in_day, options_.per_day); ++i)
    day_.use(now);
}

RequestHours Recovery::requests_by_hour(int64_t now) const {
  RequestHours out;
  out.first = (now - kDay) / RequestHours::kHour;
  day_.each_since(now - kDay, [&](int64_t time) {
    const auto hour = static_cast<uint64_t>(time / RequestHours::kHour - out.first);
    // A clock that was set back leaves times ahead of now.
    out.counts[std::min<uint64_t>(hour, RequestHours::kHours - 1)]++;
  });
  return out;
}

void Recovery::resume(const RequestHours& hours) {
  for (size_t i = 0; i < RequestHours::kHours; ++i)
    resume(hours.counts[i], (hours.first + static_cast<int64_t>(i) + 1) * RequestHours::kHour - 1);
}

}  // namespace wp::feed
