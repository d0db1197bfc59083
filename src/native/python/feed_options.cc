// SPDX-License-Identifier: Apache-2.0
#include "python/feed_options.h"

#include <cstring>

#include "core/error.h"

namespace wp::python {

using namespace wp::feed;

namespace {

template <class T>
T cast(const std::string& name, nb::handle value, const char* must) {
  try {
    return nb::cast<T>(value);
  } catch (const nb::cast_error&) {
    throw config_error(name, nb::cast<std::string>(nb::repr(value)), must);
  }
}

void set(const std::string& name, nb::handle value, bool& to) {
  to = cast<bool>(name, value, "True or False");
}
template <class T>
void set(const std::string& name, nb::handle value, T& to) {
  to = cast<T>(name, value, "a whole number, not negative and not too large");
}
void set(const std::string& name, nb::handle value, SessionName& to) {
  to = session_of(cast<nb::bytes>(name, value, "bytes"));
}
void set(const std::string& name, nb::handle value,
         std::vector<std::pair<uint32_t, uint64_t>>& to) {
  to = cast<std::vector<std::pair<uint32_t, uint64_t>>>(name, value, "pairs of unit and number");
}

// Finds the option of this name among pairs of name and member.
bool set_named(const std::string&, nb::handle) {
  return false;
}
template <class T, class... Rest>
bool set_named(const std::string& name, nb::handle value, const char* known, T& to,
               Rest&&... rest) {
  if (name == known) {
    set(name, value, to);
    return true;
  }
  return set_named(name, value, std::forward<Rest>(rest)...);
}

}  // namespace

nb::bytes session_bytes(const SessionName& session) {
  size_t n = session.size();
  while (n > 0 && session[n - 1] == '\0') n--;
  return nb::bytes(session.data(), n);
}

SessionName session_of(const nb::bytes& name) {
  SessionName session{};
  if (name.size() > session.size())
    throw config_error("session", std::to_string(name.size()) + " bytes", "at most 16 bytes");
  std::memcpy(session.data(), name.c_str(), name.size());
  return session;
}

void set_arbiter_options(const nb::dict& from, ArbiterOptions& o) {
  for (const auto& [key, value] : from) {
    const std::string name = nb::cast<std::string>(key);
    if (!set_named(name, value, "units", o.units, "in_order", o.in_order, "hold_ns", o.hold_ns,
                   "hold_messages", o.hold_messages, "hold_bytes", o.hold_bytes, "max_gaps",
                   o.max_gaps, "session", o.session, "pin_session", o.pin_session, "next_sequence",
                   o.next_sequence, "resumed", o.resumed, "next_of_units", o.next_of_units,
                   "session_begin", o.session_begin, "await_snapshot", o.await_snapshot,
                   "reorder_messages", o.reorder_messages, "reorder_ns", o.reorder_ns,
                   "restart_packets", o.restart_packets, "max_jump", o.max_jump, "skew_packets",
                   o.skew_packets))
      throw config_error("option", name, "one that Arbiter documents, lines apart");
  }
}

void set_recovery_options(const nb::dict& from, RecoveryOptions& o) {
  for (const auto& [key, value] : from) {
    const std::string name = nb::cast<std::string>(key);
    if (!set_named(name, value, "hold_ns", o.hold_ns, "retry_ns", o.retry_ns, "max_retry_ns",
                   o.max_retry_ns, "max_attempts", o.max_attempts, "deadline_ns", o.deadline_ns,
                   "max_per_request", o.max_per_request, "coalesce", o.coalesce, "max_in_flight",
                   o.max_in_flight, "continue_at_once", o.continue_at_once, "per_second",
                   o.per_second, "per_minute", o.per_minute, "per_day", o.per_day))
      throw config_error("option", name, "one that Recovery documents");
  }
}

std::unique_ptr<RequestEncoder> encoder_named(const std::string& venue,
                                              const std::string& source_id, uint8_t product_id,
                                              uint8_t channel_id) {
  if (venue == "mold_udp64") return std::make_unique<MoldRequests>();
  if (venue == "pitch") return std::make_unique<PitchRequests>();
  if (venue == "nyse") return std::make_unique<NyseRequests>(source_id, product_id, channel_id);
  if (venue == "iex") return std::make_unique<IexRequests>();
  throw config_error("venue", "\"" + venue + "\"", "one of mold_udp64, pitch, nyse, iex");
}

nb::dict counters_of(const UnitCounters& c) {
  nb::dict out;
  out["delivered"] = c.delivered;
  out["late"] = c.late;
  out["recovered"] = c.recovered;
  out["empty"] = c.empty;
  out["held"] = c.held;
  out["held_total"] = c.held_total;
  out["held_peak"] = c.held_peak;
  out["superseded"] = c.superseded;
  out["gaps"] = c.gaps;
  out["gap_messages"] = c.gap_messages;
  out["gap_filled"] = c.gap_filled;
  out["gap_open"] = c.gap_open;
  out["abandoned"] = c.abandoned;
  out["gaps_abandoned"] = c.gaps_abandoned;
  out["session_changes"] = c.session_changes;
  out["resets"] = c.resets;
  return out;
}

nb::dict counters_of(const LineCounters& c) {
  nb::dict out;
  out["packets"] = c.packets;
  out["malformed"] = c.malformed;
  out["unknown_unit"] = c.unknown_unit;
  out["ignored"] = c.ignored;
  out["wrong_session"] = c.wrong_session;
  out["stale"] = c.stale;
  out["doubted"] = c.doubted;
  out["heartbeats"] = c.heartbeats;
  out["end_of_session"] = c.end_of_session;
  out["resets"] = c.resets;
  out["data"] = c.data;
  out["unsequenced"] = c.unsequenced;
  out["unsequenced_messages"] = c.unsequenced_messages;
  out["messages"] = c.messages;
  out["won"] = c.won;
  out["duplicates"] = c.duplicates;
  out["too_late"] = c.too_late;
  out["expected"] = c.expected;
  out["missing"] = c.missing;
  out["reordered"] = c.reordered;
  out["repeated"] = c.repeated;
  out["last_time"] = c.last_time;
  return out;
}

nb::dict counters_of(const RecoveryCounters& c) {
  nb::dict out;
  out["requests"] = c.requests;
  out["requested"] = c.requested;
  out["retries"] = c.retries;
  out["continued"] = c.continued;
  out["refused"] = c.refused;
  out["abandoned"] = c.abandoned;
  out["ranges_abandoned"] = c.ranges_abandoned;
  out["waited"] = c.waited;
  return out;
}

}  // namespace wp::python
