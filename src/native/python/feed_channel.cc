// SPDX-License-Identifier: Apache-2.0
#include "feed/channel.h"

#include <nanobind/stl/tuple.h>

#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "feed/arbiter.h"
#include "net/bytes.h"
#include "python/bindings.h"
#include "python/feed_options.h"
#include "python/feed_snapshot.h"

namespace wp::python {
namespace {

using namespace wp::feed;

using Numbers = std::optional<std::vector<uint32_t>>;
using Names = std::optional<std::vector<std::string>>;

FlowRule flow_of(const char* field, const Steering& steering) {
  if (steering.rules.size() > 1 || (steering.rules.empty() && !steering.everything))
    throw config_error(field, steering.rules.empty() ? "no flow" : steering.describe(),
                       "one flow for each line, or everything");
  return steering.rules.empty() ? FlowRule{} : steering.rules.front();
}

std::vector<FlowRule> flows_of(const char* field, const std::vector<Steering>& lines) {
  std::vector<FlowRule> out;
  for (const Steering& line : lines) out.push_back(flow_of(field, line));
  return out;
}

// What each protocol asks with.
const char* recovery_of(const std::string& protocol) {
  if (protocol == "itch") return "mold_udp64";
  if (protocol == "pitch") return "pitch";
  if (protocol == "iex") return "iex";
  if (protocol == "pillar") return "nyse";
  return "";
}

template <class T>
T taken(nb::dict& from, const char* name, T otherwise) {
  if (!from.contains(name)) return otherwise;
  T out;
  if (!nb::try_cast(from[name], out))
    throw config_error(name, nb::cast<std::string>(nb::repr(from[name])),
                       "of the kind that Recovery documents");
  PyDict_DelItemString(from.ptr(), name);
  return out;
}

// As a snapshot had them: those of the newest hours.
RequestHours hours_of(const std::map<int64_t, uint32_t>& counts) {
  RequestHours out;
  if (counts.empty()) return out;
  out.first = counts.rbegin()->first - static_cast<int64_t>(RequestHours::kHours) + 1;
  for (const auto& [hour, n] : counts)
    if (hour >= out.first) out.counts[static_cast<size_t>(hour - out.first)] = n;
  return out;
}

// CME's books from the snapshot loops: nothing is asked for.
void set_snapshot_loop(ChannelOptions& o, const nb::dict& options) {
  nb::dict rest = nb::steal<nb::dict>(PyDict_Copy(options.ptr()));
  CmeRecoveryOptions& loop = o.snapshot_loop.emplace();
  loop.held_records = taken<size_t>(rest, "held_records", loop.held_records);
  loop.instruments = taken<size_t>(rest, "instruments", loop.instruments);
  for (auto [key, value] : rest)
    throw config_error(
        "recovery_options",
        nb::cast<std::string>(nb::repr(key)) + " = " + nb::cast<std::string>(nb::repr(value)),
        "held_records and instruments for recovery \"cme_snapshot\"");
}

void set_recovery(ChannelOptions& o, const std::string& recovery, const nb::dict& options) {
  if (recovery.empty()) {
    if (options.size() != 0)
      throw config_error("recovery_options", nb::cast<std::string>(nb::repr(options)),
                         "left out where recovery is \"\"");
    return;
  }
  if (recovery == "cme_snapshot") return set_snapshot_loop(o, options);
  const std::string own = recovery_of(o.protocol);
  if (recovery != own)
    throw config_error("recovery", "\"" + recovery + "\"",
                       own.empty() ? "\"\" or \"cme_snapshot\" for protocol \"" + o.protocol + "\""
                                   : "\"\" or \"" + own + "\" for protocol \"" + o.protocol + "\"");
  nb::dict rest = nb::steal<nb::dict>(PyDict_Copy(options.ptr()));
  const auto source_id = taken<std::string>(rest, "source_id", "");
  const auto product_id = taken<uint8_t>(rest, "product_id", 0);
  const auto channel_id = taken<uint8_t>(rest, "channel_id", 0);
  o.encoder = encoder_named(recovery, source_id, product_id, channel_id);
  o.requests_by_hour = hours_of(taken<std::map<int64_t, uint32_t>>(rest, "requests_by_hour", {}));
  o.recovery = o.encoder->limits();
  set_recovery_options(rest, o.recovery);
}

// (type, bytes behind the header, offset of the instrument or -1) each.
using Declared = std::vector<std::tuple<uint16_t, uint16_t, int32_t>>;

void set_declared(ChannelOptions& o, const Declared& messages, size_t bytes) {
  if (messages.empty()) return;
  std::vector<DeclaredMessage> types;
  for (const auto& [type, size, instrument_at] : messages)
    types.push_back({type, size, instrument_at});
  o.declared = std::make_shared<DeclaredMessages>(std::move(types), bytes);
}

// Behind recovery's last moment, so that the hold timer does not give up first.
constexpr int64_t kAfterDeadline = 100'000'000;

std::shared_ptr<Channel> make(const std::string& protocol, const std::string& name,
                              uint16_t channel, const std::vector<Steering>& lines,
                              const std::vector<Steering>& recovery_lines, int64_t midnight_ns,
                              const nb::dict& arbiter, const std::string& recovery,
                              const nb::dict& recovery_options, Numbers instruments, Names symbols,
                              Numbers types, nb::handle schema,
                              std::shared_ptr<SymbolTable> symbol_table, const Declared& messages,
                              size_t message_bytes) {
  ChannelOptions o;
  o.name = name;
  o.protocol = protocol;
  o.channel = channel;
  o.midnight_ns = midnight_ns;
  o.lines = flows_of("lines", lines);
  o.recovery_lines = flows_of("recovery_lines", recovery_lines);
  set_recovery(o, recovery, recovery_options);
  if (o.encoder &&
      __builtin_add_overflow(o.recovery.deadline_ns, kAfterDeadline, &o.arbiter.hold_ns))
    o.arbiter.hold_ns = INT64_MAX;
  if (protocol == "pitch") {
    // Units are many, and each holds its own.
    o.arbiter.units = 16;
    o.arbiter.hold_messages = 8192;
    o.arbiter.hold_bytes = 1 << 20;
  }
  // All of these venues number a session, or a sequence, from 1.
  o.arbiter.session_begin = 1;
  set_arbiter_options(arbiter, o.arbiter);
  o.filter = {std::move(instruments), std::move(symbols), std::move(types)};
  o.symbols = std::move(symbol_table);
  set_declared(o, messages, message_bytes);
  if (!schema.is_none()) {
    auto [plan, map] = nb::cast<std::pair<std::shared_ptr<SbePlan>, nb::bytes>>(schema);
    std::vector<uint32_t> words(map.size() / sizeof(uint32_t));
    if (!words.empty()) std::memcpy(words.data(), map.c_str(), words.size() * sizeof(uint32_t));
    o.map.emplace(*plan, words);
    o.plan = std::move(plan);
  }
  return make_channel(std::move(o));
}

nb::list take_requests(Channel& channel, size_t max) {
  nb::list out;
  nb::object type = nb::module_::import_("wirepath.feed.events").attr("Request");
  ChannelRequest request;
  while (nb::len(out) < max && channel.take_request(&request)) {
    out.append(type(request.what.first, request.what.count, request.what.attempt, request.what.unit,
                    nb::bytes(reinterpret_cast<const char*>(request.bytes), request.length)));
  }
  return out;
}

nb::dict take_rows(Channel& channel) {
  nb::dict out;
  const auto& declared = channel.options().declared;
  if (!declared) return out;
  std::vector<std::vector<uint8_t>> rows;
  declared->take(rows);
  for (size_t i = 0; i < rows.size(); i++) {
    if (!rows[i].empty())
      out[nb::int_(declared->types()[i].type)] = nb::bytes(rows[i].data(), rows[i].size());
  }
  return out;
}

nb::list ranges_of(const std::vector<SequenceRange>& ranges) {
  nb::list out;
  for (const SequenceRange& r : ranges) out.append(nb::make_tuple(r.first, r.last));
  return out;
}

// As users know them: Nasdaq's name, IEX's protocol, channel and session.
nb::object session_text(const Channel& channel, const SessionName& session) {
  if (session == SessionName{}) return nb::str("");
  if (channel.options().protocol == "iex") {
    const auto* p = reinterpret_cast<const uint8_t*>(session.data());
    char text[48];
    const int n = std::snprintf(text, sizeof text, "0x%04x/%u/%u", net::load_le<uint16_t>(p),
                                net::load_le<uint32_t>(p + 2), net::load_le<uint32_t>(p + 6));
    return nb::str(text, static_cast<size_t>(n));
  }
  size_t n = session.size();
  while (n > 0 && (session[n - 1] == ' ' || session[n - 1] == '\0')) n--;
  // Bytes off the wire: Latin-1 maps each to a character and cannot fail.
  return nb::steal(PyUnicode_DecodeLatin1(session.data(), static_cast<Py_ssize_t>(n), nullptr));
}

std::string label_of(const ChannelOptions& o, size_t line) {
  if (line < o.lines.size())
    return line < 26 ? std::string(1, static_cast<char>('A' + line)) : "L" + std::to_string(line);
  line -= o.lines.size();
  return line < o.recovery_lines.size() ? "recovery " + std::to_string(line + 1) : "replies";
}

nb::dict quantiles_of(const Histogram& h) {
  nb::dict out;
  if (h.total() == 0) return out;
  out["p50"] = h.quantile(0.5);
  out["p99"] = h.quantile(0.99);
  out["max"] = h.max();
  return out;
}

nb::list lines_of(const Channel& channel, const ChannelSnapshot& s) {
  const ChannelOptions& o = channel.options();
  nb::list out;
  for (size_t i = 0; i < s.lines.size(); i++) {
    const LineCounters& c = s.lines[i];
    nb::dict line;
    line["label"] = label_of(o, i);
    const bool live = i < o.lines.size();
    const size_t k = i - o.lines.size();
    const FlowRule* rule = live                          ? &o.lines[i]
                           : k < o.recovery_lines.size() ? &o.recovery_lines[k]
                                                         : nullptr;
    line["flow"] = rule == nullptr
                       ? std::string()
                       : Steering{rule->family == 0 && rule->port == 0, {*rule}}.describe();
    line["live"] = live;
    line["loss"] =
        c.expected == 0 ? 0.0 : static_cast<double>(c.missing) / static_cast<double>(c.expected);
    const auto index = static_cast<uint32_t>(i);
    line["behind_ns"] = quantiles_of(channel.behind(index));
    // Against the first line; of more than two it would not be told apart.
    line["skew_ns"] =
        live && i == 1 && o.lines.size() == 2
            ? nb::object(nb::int_(line_skew(channel.behind(0), channel.behind(1), 0.5)))
            : nb::none();
    line.update(counters_of(c));
    out.append(line);
  }
  return out;
}

nb::list state_of(const ChannelSnapshot& s) {
  nb::list out;
  for (size_t i = 0; i < s.used; i++) {
    const UnitSnapshot& u = s.units[i];
    nb::dict unit;
    unit["unit"] = u.unit;
    unit["session"] = session_bytes(u.session);
    unit["next_sequence"] = u.next_sequence;
    unit["next_on_wire"] = u.next_on_wire;
    unit["highest"] = u.highest;
    unit["ended"] = u.ended;
    unit["gaps"] = ranges_of(u.gaps);
    unit["counters"] = counters_of(u.counters);
    out.append(unit);
  }
  return out;
}

nb::dict by_type_of(const Channel& channel, const DecodeCounters& c) {
  nb::dict out;
  for (const auto& [type, count] : c.by_type) {
    if (count == 0) continue;
    if (channel.letters())
      out[nb::str(std::string(1, static_cast<char>(type)).c_str())] = count;
    else
      out[nb::int_(type)] = count;
  }
  return out;
}

nb::dict loop_of(const LoopSnapshot& loop) {
  nb::dict out = counters_of(loop.counters, loop.held_now);
  out["unfit_packets"] = loop.unfit_packets;
  out["stale_books"] = loop.stale_count;
  out["stale_instruments"] = loop.stale;
  out["wanting"] = loop.wanting;
  return out;
}

nb::object resolved_of(const Channel& channel, const ChannelSnapshot& s) {
  nb::dict out;
  const auto& symbols = channel.options().filter.symbols;
  if (!symbols) return out;
  for (size_t i = 0; i < s.resolved.size() && i < symbols->size(); i++)
    if (s.resolved[i] != 0) out[(*symbols)[i].c_str()] = s.resolved[i];
  return out;
}

}  // namespace

nb::dict snapshot_of(const Channel& channel) {
  const ChannelSnapshot s = channel.snapshot();
  UnitCounters units;
  bool ended = s.used != 0;
  nb::list gaps;
  for (size_t i = 0; i < s.used; i++) {
    units += s.units[i].counters;
    ended &= s.units[i].ended;
    for (const SequenceRange& r : s.units[i].gaps) gaps.append(nb::make_tuple(r.first, r.last));
  }
  nb::list abandoned;
  for (const AbandonedRange& r : s.abandoned)
    abandoned.append(
        nb::make_tuple(r.first, r.last, kAbandonReasons[static_cast<int>(r.reason)], r.unit));
  const DecodeCounters& d = s.decoded;
  nb::dict out;
  out["name"] = channel.name();
  out["protocol"] = channel.options().protocol;
  out["channel"] = channel.options().channel;
  out["session"] = session_text(channel, s.used == 0 ? SessionName{} : s.units[0].session);
  out["next_sequence"] = s.used == 0 ? 0 : s.units[0].next_sequence;
  out["ended"] = ended;
  out["state"] = state_of(s);
  out["counters"] = counters_of(units);
  out["lines"] = lines_of(channel, s);
  out["gaps"] = gaps;
  out["abandoned"] = abandoned;
  out["by_type"] = by_type_of(channel, d);
  out["messages"] = d.messages;
  out["filtered"] = d.filtered;
  out["filtered_records"] = d.filtered_records;
  out["cleared"] = d.cleared;
  out["unknown"] = d.unknown + d.other_schema;
  out["malformed"] = d.malformed;
  out["no_record"] = d.no_record;
  out["untimed"] = d.untimed;
  out["records"] = d.records;
  out["delivered"] = d.delivered;
  out["ring_full"] = d.ring_full;
  out["resolved"] = resolved_of(channel, s);
  nb::dict recovery = counters_of(s.recovery);
  uint64_t in_day = 0;
  nb::dict by_hour;
  for (size_t i = 0; i < RequestHours::kHours; i++) {
    const uint32_t n = s.requests_by_hour.counts[i];
    in_day += n;
    if (n != 0) by_hour[nb::int_(s.requests_by_hour.first + static_cast<int64_t>(i))] = n;
  }
  recovery["requests_in_day"] = in_day;
  recovery["requests_by_hour"] = by_hour;
  recovery["requests_dropped"] = s.mail.requests_dropped;
  recovery["replies"] = s.mail.replies;
  recovery["replies_refused"] = s.mail.replies_refused;
  recovery["injected"] = s.mail.injected;
  recovery["injected_refused"] = s.mail.injected_refused;
  recovery["injected_outdated"] = s.mail.outdated;
  out["recovery"] = recovery;
  if (channel.options().snapshot_loop) out["snapshot_loop"] = loop_of(s.loop);
  if (const auto& declared = channel.options().declared) {
    nb::dict rows;
    rows["stored"] = declared->stored();
    rows["lost"] = declared->lost();
    out["rows"] = rows;
  }
  return out;
}

void bind_feed_channel(nb::module_& m) {
  nb::class_<Channel>(m, "FeedChannel", "Native channel of a feed; see wirepath.feed.make_channel.")
      .def_static("make", &make, nb::arg("protocol"), nb::kw_only(), nb::arg("name"),
                  nb::arg("channel") = 0, nb::arg("lines"),
                  nb::arg("recovery_lines") = std::vector<Steering>{}, nb::arg("midnight_ns") = 0,
                  nb::arg("arbiter") = nb::dict(), nb::arg("recovery") = "",
                  nb::arg("recovery_options") = nb::dict(), nb::arg("instruments") = nb::none(),
                  nb::arg("symbols") = nb::none(), nb::arg("types") = nb::none(),
                  nb::arg("schema") = nb::none(), nb::arg("symbol_table") = nb::none(),
                  nb::arg("messages") = Declared{}, nb::arg("message_bytes") = size_t{16} << 20)
      .def_prop_ro("name", [](const Channel& c) { return c.name(); })
      .def("requests", &take_requests, nb::arg("max") = 64,
           "What recovery wants sent to the venue's server, oldest first.")
      .def(
          "reply",
          [](Channel& c, nb::handle packet, int64_t recv_time) {
            const BytesView in(packet);
            return c.reply(in.data(), in.size(), recv_time);
          },
          nb::arg("packet"), nb::arg("recv_time"),
          "A datagram of the venue's server. False: no room for it, counted.")
      .def(
          "refuse",
          [](Channel& c, uint64_t first, uint64_t last, uint32_t unit) {
            c.refuse(unit, first, last);
          },
          nb::arg("first"), nb::arg("last"), nb::arg("unit") = 0,
          "The server will not send these: given up.")
      .def("pause", &Channel::pause, nb::arg("until"),
           "No requests before `until`, ns since the Unix epoch: the server counts too many, or "
           "what\n"
           "is missing comes otherwise. 0: requests again.")
      .def("hold", &Channel::hold, nb::arg("until"),
           "A snapshot is under way: until that time, ns since the Unix epoch, what is missing is\n"
           "neither asked for nor given up, whatever its age. 0: again from now on.")
      .def(
          "skip_to",
          [](Channel& c, uint64_t next_sequence, uint32_t unit) { c.skip_to(unit, next_sequence); },
          nb::arg("next_sequence"), nb::arg("unit") = 0,
          "A snapshot has everything before this number: what is missing of it is given up as\n"
          "\"snapshot\", what is held of it dropped, and the sequence goes on from there.")
      .def(
          "inject",
          [](Channel& c, nb::handle message, uint64_t seq, int64_t recv_time, uint32_t unit) {
            const BytesView in(message);
            return c.inject(unit, in.data(), in.size(), seq, recv_time);
          },
          nb::arg("message"), nb::arg("seq"), nb::arg("recv_time"), nb::arg("unit") = 0,
          "A message of a snapshot: filtered, decoded and put into the ring with the flag\n"
          "RECOVERED, outside the sequence. False: no room for it, counted.")
      .def("take_rows", &take_rows,
           "Rows of the declared messages that wait, packed, by type; one thread at a time.")
      .def(
          "snapshot", [](const Channel& c) { return snapshot_of(c); },
          "Counters and state as of a moment ago; exact once the worker stopped.")
      .def(
          "behind",
          [](const Channel& c, uint32_t line) {
            const size_t lines = c.snapshot().lines.size();
            if (line >= lines)
              throw config_error("line", std::to_string(line), "below " + std::to_string(lines));
            auto out = std::make_shared<Histogram>();
            out->merge(c.behind(line));
            return out;
          },
          nb::arg("line"), "ns by which the line's packets came after another's with the same.");
}

}  // namespace wp::python
