/* SPDX-License-Identifier: Apache-2.0
 *
 * Recovery of what no line brought, sans-I/O: looks at the arbiter's open gaps
 * and the time, and says what to request, when to ask again and what to give up.
 * Answers go to the arbiter as packets of a recovery line; how a venue is asked
 * is a RequestEncoder's affair (recovery_requests.h).
 */
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "feed/arbiter_types.h"
#include "feed/sequence_gaps.h"

namespace wp::feed {

struct RecoveryOptions {
  int64_t hold_ns = 1'000'000;           // age of a gap before the first request: another line may
                                         // still fill it
  int64_t retry_ns = 20'000'000;         // wait for an answer; doubled with every attempt
  int64_t max_retry_ns = 1'000'000'000;  // but no longer than this
  uint32_t max_attempts = 5;             // in a row that brought nothing
  int64_t deadline_ns = 10'000'000'000;  // age at which a gap is given up in any case
  uint64_t max_per_request = 65'534;     // messages
  uint64_t coalesce = 16;                // received messages asked for again to save a request
  uint32_t max_in_flight = 16;           // requests without an answer yet
  // An answer ends where its packet is full: the rest is asked for as soon as its beginning came.
  bool continue_at_once = false;
  // Requests that the venue allows in any such time; 0: no limit.
  uint32_t per_second = 0;
  uint32_t per_minute = 0;
  uint32_t per_day = 0;
  size_t max_ranges = 4096;  // looked after at a time; what is above waits its turn
};

struct RecoveryRequest {
  uint32_t unit = 0;
  uint64_t first = 0;  // 64 bits wide, see wire_sequence
  uint64_t count = 0;
  uint32_t attempt = 1;
};

struct RecoveryCounters {
  uint64_t requests = 0;
  uint64_t requested = 0;  // messages in them
  uint64_t retries = 0;    // requests for what was asked for before
  uint64_t continued = 0;  // requests for the rest of an answer
  uint64_t refused = 0;    // by the server, for good
  uint64_t abandoned = 0;  // messages given up
  uint64_t ranges_abandoned = 0;
  uint64_t waited = 0;  // times that requests came to be due and not allowed: quota, max_in_flight
};

/* Requests by hour, the Unix epoch's being 0; the hours of one day, rounded to whole ones. */
struct RequestHours {
  static constexpr int64_t kHour = 3'600'000'000'000;
  static constexpr size_t kHours = 25;
  int64_t first = 0;
  std::array<uint32_t, kHours> counts{};
  bool operator==(const RequestHours&) const = default;
};

/* How often something happened within any time of one length; exact. */
class SlidingQuota {
 public:
  SlidingQuota(uint32_t limit, int64_t window_ns) : times_(limit), window_(window_ns) {}
  /* When it is allowed; not later than now: allowed now. */
  int64_t allowed_at() const {
    if (times_.empty() || used_ < times_.size()) return INT64_MIN;
    return times_[next_] + window_;
  }
  void use(int64_t now) {
    if (times_.empty()) return;
    times_[next_] = now;
    next_ = next_ + 1 == times_.size() ? 0 : next_ + 1;
    used_ += used_ < times_.size();
  }
  /* Calls f(time) with each use that is remembered and later than `time`. */
  template <class F>
  void each_since(int64_t time, F&& f) const {
    for (size_t i = 0; i < used_; ++i)
      if (times_[i] > time) f(times_[i]);
  }
  uint64_t used_since(int64_t time) const {
    uint64_t n = 0;
    each_since(time, [&](int64_t) { ++n; });
    return n;
  }

 private:
  std::vector<int64_t> times_;  // a ring
  int64_t window_;
  size_t next_ = 0;
  size_t used_ = 0;
};

/* The sink of poll is any object with
 *   request(const RecoveryRequest&)      to be encoded and sent
 *   give_up(uint32_t unit, uint64_t first, uint64_t last, AbandonReason)
 * which usually hands the latter to Arbiter::abandon, and that reports `gap_abandoned`. */
class Recovery {
 public:
  static constexpr int64_t kSecond = 1'000'000'000;
  static constexpr int64_t kDay = 86'400 * kSecond;

  /* Throws wp::Error naming the field. */
  explicit Recovery(const RecoveryOptions& options);

  /* After each burst and when deadline() is reached. polled_until: see Arbiter::polled_until;
   * nothing is given up for an age or for attempts that it has not come to. */
  template <class Arbiter, class Sink>
  void poll(int64_t now, const Arbiter& arbiter, Sink&& sink, int64_t polled_until = INT64_MAX) {
    begin();
    for (size_t i = 0; i < arbiter.units(); ++i) {
      const auto& unit = arbiter.unit(i);
      look_at(unit.unit(), unit.assembler().gaps(), now);
    }
    decide(now, polled_until);
    // The arbiter may change its gaps from here on.
    for (const GivenUp& g : given_up_) sink.give_up(g.unit, g.first, g.last, g.reason);
    for (const RecoveryRequest& r : requests_) sink.request(r);
  }

  /* When poll has something to do without a packet; INT64_MAX: never. */
  int64_t deadline() const { return deadline_; }
  /* The server will not send [first, last]: given up at the next poll. */
  void refuse(uint32_t unit, uint64_t first, uint64_t last);
  /* The server counts more requests than it allows: none before `until`; what was asked for is
   * asked for again then. */
  void pause(int64_t until);
  /* Whatever pause said is over. */
  void unpause() { paused_until_ = INT64_MIN; }
  /* What is missing had to wait for other reasons until now: ages count from here. */
  void forgive(int64_t now) { forgiven_ = now; }

  /* To go on after a restart of the process within the venue's day. Without per_day nothing is
   * remembered. */
  uint64_t requests_in_day(int64_t now) const { return day_.used_since(now - kDay); }
  RequestHours requests_by_hour(int64_t now) const;
  void resume(uint64_t requests_in_day, int64_t now);
  /* As requests_by_hour had it before the restart: each counts as of its hour's end. */
  void resume(const RequestHours& hours);

  const RecoveryCounters& counters() const { return counters_; }
  size_t ranges() const { return ranges_.size(); }

 private:
  struct Range {
    uint32_t unit;
    uint64_t first;
    uint64_t last;
    int64_t since;
    int64_t due;        // of the next request
    uint32_t attempts;  // since anything of it came
    bool continued;     // its beginning came
    bool refused;
    uint64_t size() const { return last - first + 1; }
  };
  struct GivenUp {
    uint32_t unit;
    uint64_t first;
    uint64_t last;
    AbandonReason reason;
  };

  void begin();
  void look_at(uint32_t unit, std::span<const SequenceRange> gaps, int64_t now);
  void add(const Range& range);
  Range inherit(const Range& old, uint64_t first, uint64_t last, int64_t now) const;
  void decide(int64_t now, int64_t polled_until);
  void ask(int64_t now);
  int64_t allowed_at() const;
  bool spent(const Range& range) const { return range.attempts >= options_.max_attempts; }
  int64_t wait_after(uint32_t attempts) const;

  RecoveryOptions options_;
  // Sized once; swapped, never grown.
  std::vector<Range> ranges_;
  std::vector<Range> previous_;
  std::vector<GivenUp> given_up_;
  std::vector<RecoveryRequest> requests_;
  SlidingQuota second_;
  SlidingQuota minute_;
  SlidingQuota day_;
  int64_t paused_until_ = INT64_MIN;
  int64_t forgiven_ = INT64_MIN;
  int64_t deadline_ = INT64_MAX;
  bool waiting_ = false;  // requests are due and not allowed
  RecoveryCounters counters_;
};

}  // namespace wp::feed
