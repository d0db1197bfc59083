// SPDX-License-Identifier: Apache-2.0
#include "feed/feed_stage.h"

#include <cstring>
#include <memory>
#include <utility>

#include "core/error.h"
#include "feed/mold_udp64.h"
#include "python/bindings.h"
#include "python/feed_snapshot.h"

namespace wp::python {
namespace {

using feed::FeedStage;
using feed::MoldCounters;
using feed::MoldSession;
using feed::MoldUDP64;

nb::str session_text(const MoldSession& session) {
  size_t n = session.size();
  while (n > 0 && (session[n - 1] == ' ' || session[n - 1] == '\0')) n--;
  // Ten bytes off the wire: Latin-1 maps each to a character and cannot fail.
  return nb::steal<nb::str>(
      PyUnicode_DecodeLatin1(session.data(), static_cast<Py_ssize_t>(n), nullptr));
}

feed::MoldOptions mold_options(const std::string& session, uint64_t next_sequence) {
  feed::MoldOptions options;
  if (session.size() > feed::kMoldSessionSize)
    throw config_error("session", "\"" + session + "\"", "at most 10 characters");
  if (!session.empty()) {
    options.session.fill(' ');
    std::memcpy(options.session.data(), session.data(), session.size());
  }
  options.next_sequence = next_sequence;
  return options;
}

nb::dict counters_of(const MoldCounters& c) {
  nb::dict out;
  out["packets"] = c.packets;
  out["messages"] = c.messages;
  out["late"] = c.late;
  out["empty"] = c.empty;
  out["duplicates"] = c.duplicates;
  out["heartbeats"] = c.heartbeats;
  out["end_of_session"] = c.end_of_session;
  out["malformed"] = c.malformed;
  out["trailing"] = c.trailing;
  out["wrong_session"] = c.wrong_session;
  out["session_changes"] = c.session_changes;
  out["gaps"] = c.gaps;
  out["gap_messages"] = c.gap_messages;
  out["gap_filled"] = c.gap_filled;
  out["gap_open"] = c.gap_open;
  out["gaps_forgotten"] = c.gaps_forgotten;
  out["lost"] = c.lost;
  return out;
}

template <class Ranges>
nb::list ranges_of(const Ranges& ranges) {
  nb::list out;
  for (const auto& r : ranges) out.append(nb::make_tuple(r.first, r.last));
  return out;
}

// Session events as the tuples of wirepath.feed.events.
struct EventSink {
  nb::list events;
  nb::object types = nb::module_::import_("wirepath.feed.events");

  void message(uint64_t seq, const uint8_t* data, uint16_t length, int64_t recv_time, bool late) {
    events.append(types.attr("Message")(seq, nb::bytes(reinterpret_cast<const char*>(data), length),
                                        recv_time, late));
  }
  void gap(uint64_t first, uint64_t last) { events.append(types.attr("Gap")(first, last)); }
  void heartbeat(uint64_t next) { events.append(types.attr("Heartbeat")(next)); }
  void end_of_session(uint64_t next) { events.append(types.attr("EndOfSession")(next)); }
  void session_change(const MoldSession& from, const MoldSession& to) {
    events.append(types.attr("SessionChange")(session_text(from), session_text(to)));
  }
};

nb::dict stage_snapshot(const FeedStage& stage) {
  const FeedStage::Snapshot s = stage.snapshot();
  nb::list channels;
  bool ended = true;
  for (const auto& channel : stage.channels()) {
    nb::dict each = snapshot_of(*channel);
    ended &= nb::cast<bool>(each["ended"]);
    channels.append(each);
  }
  nb::dict out;
  out["frames"] = s.frames;
  out["other_flow"] = s.other_flow;
  out["not_udp"] = s.not_udp;
  out["delivered"] = s.delivered;
  out["ring_full"] = s.ring_full;
  out["ended"] = ended;
  out["channels"] = channels;
  return out;
}

std::shared_ptr<Histogram> copy_of(const Histogram& histogram) {
  auto out = std::make_shared<Histogram>();
  out->merge(histogram);
  return out;
}

}  // namespace

void bind_feed(nb::module_& m) {
  nb::class_<MoldUDP64>(
      m, "MoldUDP64",
      "A MoldUDP64 session without I/O: datagrams in, events out (Nasdaq MoldUDP64 1.00).\n\n"
      "session: the one to accept, \"\" adopts the first packet's and follows changes.\n"
      "next_sequence: first message wanted, 0 begins with the first packet.")
      .def(
          "__init__",
          [](MoldUDP64* self, const std::string& session, uint64_t next_sequence) {
            new (self) MoldUDP64(mold_options(session, next_sequence));
          },
          nb::arg("session") = "", nb::arg("next_sequence") = 0)
      .def(
          "on_packet",
          [](MoldUDP64& self, nb::handle packet, int64_t recv_time) {
            const BytesView view(packet);
            EventSink sink;
            self.on_packet(view.data(), view.size(), recv_time, sink);
            return sink.events;
          },
          nb::arg("packet"), nb::arg("recv_time") = 0,
          "One UDP payload; returns the list of events (wirepath.feed.events) that it caused.")
      .def_prop_ro(
          "gaps", [](const MoldUDP64& s) { return ranges_of(s.gaps()); },
          "Open gaps: list of (first, last), both inclusive.")
      .def_prop_ro("next_sequence", &MoldUDP64::next_sequence)
      .def_prop_ro("session", [](const MoldUDP64& s) { return session_text(s.session()); })
      .def_prop_ro("ended", &MoldUDP64::ended)
      .def_prop_ro("missing", &MoldUDP64::missing, "Messages known to exist and not received.")
      .def_prop_ro("counters", [](const MoldUDP64& s) { return counters_of(s.counters()); });

  nb::class_<FeedStage, Stage>(
      m, "FeedStage",
      "UDP frames -> channels -> records in a Ring, as a stage of a Worker.\n\n"
      "channels: each in one stage only. latency: the frames' timestamps are of now, so fill the\n"
      "histograms; False for a capture's, at whose end what is held is delivered. books: every\n"
      "record is applied to them before it is published.\n\n"
      "Raises ConfigError for a flow that two lines have, DeviceBusy for a channel that another\n"
      "stage has.")
      .def(
          "__init__",
          [](FeedStage* self, std::shared_ptr<Ring> ring,
             std::vector<std::shared_ptr<feed::Channel>> channels, const std::string& name,
             bool latency, std::shared_ptr<feed::LockedBooks> books) {
            new (self)
                FeedStage({name, latency}, std::move(ring), std::move(channels), std::move(books));
          },
          nb::arg("ring"), nb::arg("channels"), nb::arg("name") = "feed", nb::arg("latency") = true,
          nb::arg("books") = nb::none())
      .def("snapshot", &stage_snapshot,
           "``frames``, ``other_flow``, ``not_udp``, ``delivered``, ``ring_full``, ``ended`` (all\n"
           "channels are) and ``channels`` (FeedChannel.snapshot of each), as of a moment ago;\n"
           "exact once the worker stopped.")
      .def_prop_ro("messages", &FeedStage::messages_delivered, "Records pushed so far.")
      .def_prop_ro("packets", &FeedStage::packets_received, "Frames seen so far.")
      .def(
          "wire_to_ring", [](const FeedStage& s) { return copy_of(s.wire_to_ring()); },
          "Histogram of ns from the receive timestamp to the ring, one sample per record.")
      .def(
          "wire_to_book", [](const FeedStage& s) { return copy_of(s.wire_to_book()); },
          "Histogram of ns from the receive timestamp until the books know, one sample per "
          "record;\n"
          "empty without books.");
}

}  // namespace wp::python
