// SPDX-License-Identifier: Apache-2.0
#include "feed/arbiter.h"

#include <memory>
#include <string>
#include <utility>

#include "core/error.h"
#include "feed/cme_packet.h"
#include "feed/iex_tp.h"
#include "feed/mold_framer.h"
#include "feed/pillar.h"
#include "feed/pitch_units.h"
#include "feed/recovery.h"
#include "feed/recovery_requests.h"
#include "feed/wire_sequence.h"
#include "python/bindings.h"
#include "python/feed_options.h"

namespace wp::python {
namespace {

using namespace wp::feed;

// What the arbiter says, as the tuples of wirepath.feed.events.
struct Events {
  nb::list list;
  nb::object types = nb::module_::import_("wirepath.feed.events");

  void message(const MessageInfo& i, const uint8_t* data, size_t length) {
    list.append(types.attr("Delivered")(i.seq,
                                        nb::bytes(reinterpret_cast<const char*>(data), length),
                                        i.recv_time, i.line, i.flags, i.unit, i.send_time));
  }
  void gap(uint32_t unit, uint64_t first, uint64_t last) {
    list.append(types.attr("Gap")(first, last, unit));
  }
  void gap_abandoned(uint32_t unit, uint64_t first, uint64_t last, AbandonReason reason) {
    list.append(
        types.attr("GapAbandoned")(first, last, kAbandonReasons[static_cast<int>(reason)], unit));
  }
  void heartbeat(uint32_t unit, uint64_t next, uint16_t) {
    list.append(types.attr("Heartbeat")(next, unit));
  }
  void end_of_session(uint32_t unit, uint64_t next) {
    list.append(types.attr("EndOfSession")(next, unit));
  }
  void session_change(uint32_t, const SessionName& from, const SessionName& to) {
    // As MoldUDP64's: Latin-1 maps each byte to a character and cannot fail.
    list.append(types.attr("SessionChange")(session_bytes(from).attr("decode")("latin-1"),
                                            session_bytes(to).attr("decode")("latin-1")));
  }
  void reset(uint32_t unit, uint64_t next, ResetCause cause) {
    list.append(types.attr("Reset")(next, kResetCauses[static_cast<int>(cause)], unit));
  }
};

struct GivenUp {
  uint32_t unit;
  uint64_t first, last;
  AbandonReason reason;
};

// One class in Python over the arbiters of all framers.
class AnyArbiter {
 public:
  virtual ~AnyArbiter() = default;
  virtual void on_packet(uint32_t line, const uint8_t* p, size_t n, int64_t now, Events& e) = 0;
  virtual void on_time(int64_t now, Events& e) = 0;
  virtual void abandon(const GivenUp& g, Events& e) = 0;
  virtual bool skip_to(uint32_t unit, uint64_t next, int64_t now, Events& e) = 0;
  virtual int64_t deadline() const = 0;
  virtual size_t units() const = 0;
  virtual const Sequencer& unit(size_t i) const = 0;
  virtual std::span<const ArbiterLine> lines() const = 0;
  virtual UnitCounters counters() const = 0;
  virtual uint64_t wire(uint64_t seq) const = 0;
};

template <class Framer>
class ArbiterOf final : public AnyArbiter {
 public:
  explicit ArbiterOf(const ArbiterOptions& options) : arbiter_(options) {}
  void on_packet(uint32_t line, const uint8_t* p, size_t n, int64_t now, Events& e) override {
    arbiter_.on_packet(line, p, n, now, e);
  }
  void on_time(int64_t now, Events& e) override { arbiter_.on_time(now, e); }
  void abandon(const GivenUp& g, Events& e) override {
    arbiter_.abandon(g.unit, g.first, g.last, g.reason, e);
  }
  bool skip_to(uint32_t unit, uint64_t next, int64_t now, Events& e) override {
    return arbiter_.skip_to(unit, next, now, e);
  }
  int64_t deadline() const override { return arbiter_.deadline(); }
  size_t units() const override { return arbiter_.units(); }
  const Sequencer& unit(size_t i) const override { return arbiter_.unit(i); }
  std::span<const ArbiterLine> lines() const override { return arbiter_.lines(); }
  UnitCounters counters() const override { return arbiter_.counters(); }
  uint64_t wire(uint64_t seq) const override { return wire_sequence(Framer::kNumbers, seq); }

 private:
  Arbiter<Framer> arbiter_;
};

template <class Framer>
std::unique_ptr<AnyArbiter> make(const ArbiterOptions& options) {
  return std::make_unique<ArbiterOf<Framer>>(options);
}

// A framer more is a row more.
constexpr std::pair<const char*, std::unique_ptr<AnyArbiter> (*)(const ArbiterOptions&)>
    kFramers[] = {
        {"mold_udp64", &make<MoldFramer>}, {"iex_tp", &make<IexTpFramer>},
        {"pitch", &make<PitchFramer>},     {"pillar", &make<PillarFramer>},
        {"cme", &make<CmeFramer>},
};

std::unique_ptr<AnyArbiter> arbiter_named(const std::string& framer, const ArbiterOptions& o) {
  std::string known;
  for (const auto& [name, maker] : kFramers) {
    if (framer == name) return maker(o);
    known += (known.empty() ? "" : ", ") + std::string(name);
  }
  throw config_error("framer", "\"" + framer + "\"", "one of " + known);
}

nb::object time_or_none(int64_t time) {
  return time == INT64_MAX ? nb::none() : nb::object(nb::int_(time));
}

// Recovery's requests, and what it gives up.
struct Decisions {
  nb::list requests;
  std::vector<GivenUp> given_up;
  const RequestEncoder& encoder;
  const AnyArbiter& arbiter;

  void request(const RecoveryRequest& r) {
    SessionName session{};
    for (size_t i = 0; i < arbiter.units(); i++)
      if (arbiter.unit(i).unit() == r.unit) session = arbiter.unit(i).session();
    uint8_t bytes[RequestEncoder::kMaxBytes];
    const size_t n = encoder.encode(r, session, bytes);
    requests.append(nb::module_::import_("wirepath.feed.events")
                        .attr("Request")(r.first, r.count, r.attempt, r.unit,
                                         nb::bytes(reinterpret_cast<const char*>(bytes), n)));
  }
  void give_up(uint32_t unit, uint64_t first, uint64_t last, AbandonReason reason) {
    given_up.push_back({unit, first, last, reason});
  }
};

class AnyRecovery {
 public:
  AnyRecovery(std::unique_ptr<RequestEncoder> encoder, const RecoveryOptions& options)
      : encoder_(std::move(encoder)), recovery_(options) {}

  nb::tuple poll(AnyArbiter& arbiter, int64_t now) {
    Decisions decisions{{}, {}, *encoder_, arbiter};
    recovery_.poll(now, arbiter, decisions);
    Events events;
    for (const GivenUp& g : decisions.given_up) arbiter.abandon(g, events);
    return nb::make_tuple(decisions.requests, events.list);
  }
  Recovery& recovery() { return recovery_; }
  const Recovery& recovery() const { return recovery_; }

 private:
  std::unique_ptr<RequestEncoder> encoder_;
  Recovery recovery_;
};

}  // namespace

void bind_arbiter(nb::module_& m) {
  nb::class_<AnyArbiter>(m, "Arbiter", "Native arbiter; see wirepath.feed.Arbiter.")
      .def_static(
          "make",
          [](const std::string& framer, uint32_t lines, uint32_t recovery_lines, uint32_t units,
             bool in_order, int64_t hold_ns, size_t hold_messages, size_t hold_bytes,
             size_t max_gaps, const nb::bytes& session, bool pin_session, uint64_t next_sequence,
             bool resumed, uint64_t session_begin, bool await_snapshot, uint64_t reorder_messages,
             int64_t reorder_ns, uint32_t restart_packets, uint64_t max_jump, size_t skew_packets) {
            ArbiterOptions o;
            o.lines = lines;
            o.recovery_lines = recovery_lines;
            o.units = units;
            o.in_order = in_order;
            o.hold_ns = hold_ns;
            o.hold_messages = hold_messages;
            o.hold_bytes = hold_bytes;
            o.max_gaps = max_gaps;
            o.session = session_of(session);
            o.pin_session = pin_session;
            o.next_sequence = next_sequence;
            o.resumed = resumed;
            o.session_begin = session_begin;
            o.await_snapshot = await_snapshot;
            o.reorder_messages = reorder_messages;
            o.reorder_ns = reorder_ns;
            o.restart_packets = restart_packets;
            o.max_jump = max_jump;
            o.skew_packets = skew_packets;
            return arbiter_named(framer, o).release();
          },
          nb::rv_policy::take_ownership, nb::arg("framer"), nb::kw_only(), nb::arg("lines"),
          nb::arg("recovery_lines"), nb::arg("units"), nb::arg("in_order"), nb::arg("hold_ns"),
          nb::arg("hold_messages"), nb::arg("hold_bytes"), nb::arg("max_gaps"), nb::arg("session"),
          nb::arg("pin_session"), nb::arg("next_sequence"), nb::arg("resumed"),
          nb::arg("session_begin"), nb::arg("await_snapshot"), nb::arg("reorder_messages"),
          nb::arg("reorder_ns"), nb::arg("restart_packets"), nb::arg("max_jump"),
          nb::arg("skew_packets"))
      .def(
          "on_packet",
          [](AnyArbiter& a, uint32_t line, nb::handle packet, int64_t recv_time) {
            if (line >= a.lines().size())
              throw config_error("line", std::to_string(line),
                                 "below " + std::to_string(a.lines().size()));
            const BytesView view(packet);
            Events events;
            a.on_packet(line, view.data(), view.size(), recv_time, events);
            return events.list;
          },
          nb::arg("line"), nb::arg("packet"), nb::arg("recv_time"))
      .def(
          "skip_to",
          [](AnyArbiter& a, uint64_t next_sequence, int64_t now, uint32_t unit) {
            Events events;
            if (!a.skip_to(unit, next_sequence, now, events))
              throw config_error("unit", std::to_string(unit), "one of those there is room for");
            return events.list;
          },
          nb::arg("next_sequence"), nb::arg("now"), nb::arg("unit"))
      .def(
          "on_time",
          [](AnyArbiter& a, int64_t now) {
            Events events;
            a.on_time(now, events);
            return events.list;
          },
          nb::arg("now"))
      .def_prop_ro("deadline", [](const AnyArbiter& a) { return time_or_none(a.deadline()); })
      .def_prop_ro("counters", [](const AnyArbiter& a) { return counters_of(a.counters()); })
      .def_prop_ro("units",
                   [](const AnyArbiter& a) {
                     nb::list out;
                     for (size_t i = 0; i < a.units(); i++) {
                       const Sequencer& u = a.unit(i);
                       nb::list gaps;
                       for (const SequenceRange& r : u.assembler().gaps())
                         gaps.append(nb::make_tuple(r.first, r.last));
                       const SequenceState state = u.state();
                       nb::dict unit;
                       unit["unit"] = u.unit();
                       unit["session"] = session_bytes(state.session);
                       unit["next_sequence"] = state.next;
                       unit["next_on_wire"] = a.wire(state.next);
                       unit["highest"] = u.assembler().next();
                       unit["ended"] = u.ended();
                       unit["gaps"] = gaps;
                       unit["counters"] = counters_of(u.assembler().counters());
                       out.append(unit);
                     }
                     return out;
                   })
      .def_prop_ro("lines",
                   [](const AnyArbiter& a) {
                     nb::list out;
                     for (const ArbiterLine& line : a.lines())
                       out.append(counters_of(line.counters));
                     return out;
                   })
      .def(
          "behind",
          [](const AnyArbiter& a, uint32_t line) {
            if (line >= a.lines().size())
              throw config_error("line", std::to_string(line),
                                 "below " + std::to_string(a.lines().size()));
            auto out = std::make_shared<Histogram>();
            out->merge(a.lines()[line].behind);
            return out;
          },
          nb::arg("line"))
      .def(
          "skew",
          [](const AnyArbiter& a, uint32_t from, uint32_t to, double q) {
            if (from >= a.lines().size() || to >= a.lines().size())
              throw config_error("line", std::to_string(std::max(from, to)),
                                 "below " + std::to_string(a.lines().size()));
            return line_skew(a.lines()[from].behind, a.lines()[to].behind, q);
          },
          nb::arg("a"), nb::arg("b"), nb::arg("q"));

  nb::class_<AnyRecovery>(m, "Recovery", "Native recovery; see wirepath.feed.Recovery.")
      .def(
          "__init__",
          [](AnyRecovery* self, const std::string& venue, const std::string& source_id,
             uint8_t product_id, uint8_t channel_id, const nb::dict& options) {
            auto encoder = encoder_named(venue, source_id, product_id, channel_id);
            RecoveryOptions o = encoder->limits();
            set_recovery_options(options, o);
            new (self) AnyRecovery(std::move(encoder), o);
          },
          nb::arg("venue"), nb::arg("source_id"), nb::arg("product_id"), nb::arg("channel_id"),
          nb::arg("options"))
      .def("poll", &AnyRecovery::poll, nb::arg("arbiter"), nb::arg("now"))
      .def(
          "refuse",
          [](AnyRecovery& r, uint64_t first, uint64_t last, uint32_t unit) {
            r.recovery().refuse(unit, first, last);
          },
          nb::arg("first"), nb::arg("last"), nb::arg("unit"))
      .def(
          "pause", [](AnyRecovery& r, int64_t until) { r.recovery().pause(until); },
          nb::arg("until"))
      .def(
          "resume",
          [](AnyRecovery& r, uint64_t requests, int64_t now) {
            r.recovery().resume(requests, now);
          },
          nb::arg("requests_in_day"), nb::arg("now"))
      .def(
          "requests_in_day",
          [](const AnyRecovery& r, int64_t now) { return r.recovery().requests_in_day(now); },
          nb::arg("now"))
      .def_prop_ro("deadline",
                   [](const AnyRecovery& r) { return time_or_none(r.recovery().deadline()); })
      .def_prop_ro("counters",
                   [](const AnyRecovery& r) { return counters_of(r.recovery().counters()); });
}

}  // namespace wp::python
