// SPDX-License-Identifier: Apache-2.0
#include "feed/arbiter.h"

#include <algorithm>
#include <string>

#include "core/error.h"

namespace wp::feed {
namespace {

template <class T>
void within(const char* name, T value, T least, T most) {
  if (value < least || value > most) {
    throw config_error(name, std::to_string(value),
                       std::to_string(least) + " to " + std::to_string(most));
  }
}

}  // namespace

void check_arbiter_options(const ArbiterOptions& o) {
  within<uint64_t>("lines", o.lines, 1, 64);
  within<uint64_t>("recovery_lines", o.recovery_lines, 0, 64);
  within<uint64_t>("units", o.units, 1, 4096);
  within<int64_t>("hold_ns", o.hold_ns, 0, INT64_MAX);
  within<int64_t>("reorder_ns", o.reorder_ns, 0, INT64_MAX / 2);
  within<uint64_t>("max_gaps", o.max_gaps, 1, SequenceGaps::kMaxCapacity - 1);
  within<uint64_t>("skew_packets", o.skew_packets, 0, uint64_t{1} << 24);
  within<uint64_t>("max_jump", o.max_jump, 1, UINT64_MAX);
  if (o.next_of_units.size() > o.units) {
    throw config_error("next_of_units", std::to_string(o.next_of_units.size()) + " units",
                       "at most as many as units, which is " + std::to_string(o.units));
  }
  if (o.await_snapshot && (!o.in_order || o.session_begin == 0)) {
    throw config_error("await_snapshot", "true", "with in_order, and with a session_begin");
  }
  if (o.pin_session && o.session == SessionName{}) {
    throw config_error("pin_session", "true", "with a session");
  }
}

UnitCounters& operator+=(UnitCounters& sum, const UnitCounters& c) {
  sum.delivered += c.delivered;
  sum.late += c.late;
  sum.recovered += c.recovered;
  sum.empty += c.empty;
  sum.held += c.held;
  sum.held_total += c.held_total;
  sum.held_peak += c.held_peak;
  sum.superseded += c.superseded;
  sum.gaps += c.gaps;
  sum.gap_messages += c.gap_messages;
  sum.gap_filled += c.gap_filled;
  sum.gap_open += c.gap_open;
  sum.abandoned += c.abandoned;
  sum.gaps_abandoned += c.gaps_abandoned;
  sum.session_changes += c.session_changes;
  sum.resets += c.resets;
  return sum;
}

int64_t line_skew(const Histogram& a_behind, const Histogram& b_behind, double q) {
  const double ahead = static_cast<double>(a_behind.total());
  const double behind = static_cast<double>(b_behind.total());
  if (ahead + behind == 0) return 0;
  const double rank = std::clamp(q, 0.0, 1.0) * (ahead + behind);
  // Low ranks are those in which a was far behind.
  if (rank < ahead) return -a_behind.quantile(1 - rank / ahead);
  return behind == 0 ? 0 : b_behind.quantile((rank - ahead) / behind);
}

}  // namespace wp::feed
