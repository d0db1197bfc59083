// SPDX-License-Identifier: Apache-2.0
#include <optional>
#include <string_view>

#include "core/error.h"
#include "feed/soup_bin_tcp.h"
#include "python/bindings.h"

namespace wp::python {
namespace {

using namespace wp::feed;

// Off the wire: Latin-1 maps each byte to a character and cannot fail.
nb::str text_of(std::string_view bytes) {
  return nb::steal<nb::str>(
      PyUnicode_DecodeLatin1(bytes.data(), static_cast<Py_ssize_t>(bytes.size()), nullptr));
}

// What either side says, as the tuples of wirepath.feed.events.
struct Events {
  nb::list list;
  nb::object types = nb::module_::import_("wirepath.feed.events");

  static nb::bytes bytes(const uint8_t* p, size_t n) {
    return nb::bytes(reinterpret_cast<const char*>(p), n);
  }
  void login_accepted(std::string_view session, uint64_t next) {
    list.append(types.attr("LoginAccepted")(text_of(session), next));
  }
  void login_rejected(char reason) {
    list.append(types.attr("LoginRejected")(text_of({&reason, 1})));
  }
  void session_change(std::string_view from, std::string_view to) {
    list.append(types.attr("SessionChange")(text_of(from), text_of(to)));
  }
  void gap(uint64_t first, uint64_t last) { list.append(types.attr("Gap")(first, last)); }
  void message(uint64_t seq, const uint8_t* p, size_t n, int64_t recv_time) {
    list.append(types.attr("Message")(seq, bytes(p, n), recv_time, false));
  }
  void unsequenced(const uint8_t* p, size_t n, int64_t recv_time) { message(0, p, n, recv_time); }
  void heartbeat(uint64_t next) { list.append(types.attr("Heartbeat")(next)); }
  void end_of_session(uint64_t next) { list.append(types.attr("EndOfSession")(next)); }
  void debug(const uint8_t* p, size_t n) {
    list.append(types.attr("Debug")(text_of({reinterpret_cast<const char*>(p), n})));
  }
  void connection_lost(SoupLoss reason) {
    list.append(types.attr("ConnectionLost")(kSoupLosses[static_cast<int>(reason)]));
  }
};

nb::dict counters_of(const SoupCounters& c) {
  nb::dict out;
  out["bytes"] = c.bytes;
  out["packets"] = c.packets;
  out["messages"] = c.messages;
  out["empty"] = c.empty;
  out["duplicates"] = c.duplicates;
  out["unsequenced"] = c.unsequenced;
  out["heartbeats"] = c.heartbeats;
  out["debug"] = c.debug;
  out["logins"] = c.logins;
  out["logouts"] = c.logouts;
  out["end_of_session"] = c.end_of_session;
  out["malformed"] = c.malformed;
  out["unknown"] = c.unknown;
  out["unexpected"] = c.unexpected;
  out["truncated"] = c.truncated;
  out["deaths"] = c.deaths;
  return out;
}

}  // namespace

void bind_soup(nb::module_& m) {
  const SoupOptions d;
  nb::class_<SoupBinTcp>(
      m, "SoupBinTCP",
      "A client's SoupBinTCP session without I/O: bytes and time in, events and bytes to send out\n"
      "(Nasdaq SoupBinTCP 3.00). One object serves any number of connections: each goes on where\n"
      "the last one stopped.\n\n"
      "session: the one to log in to, \"\" = the current one. next_sequence: first message "
      "wanted,\n"
      "0 = only what is new. A server silent for timeout_ns, or that leaves a login unanswered\n"
      "for so long, is dead. Times are ns on any clock. Raises ConfigError.")
      .def(
          "__init__",
          [](SoupBinTcp* self, const std::string& username, const std::string& password,
             const std::string& session, uint64_t next_sequence, int64_t heartbeat_ns,
             int64_t timeout_ns) {
            SoupOptions o;
            o.username = username;
            o.password = password;
            o.session = session;
            o.next_sequence = next_sequence;
            o.heartbeat_ns = heartbeat_ns;
            o.timeout_ns = timeout_ns;
            new (self) SoupBinTcp(o);
          },
          nb::arg("username") = "", nb::arg("password") = "", nb::arg("session") = "",
          nb::arg("next_sequence") = d.next_sequence, nb::arg("heartbeat_ns") = d.heartbeat_ns,
          nb::arg("timeout_ns") = d.timeout_ns)
      .def("connected", &SoupBinTcp::connected, nb::arg("now"),
           "A connection stands: output() holds the login request.")
      .def("disconnected", &SoupBinTcp::disconnected, "The connection ended, by either side.")
      .def(
          "on_bytes",
          [](SoupBinTcp& self, nb::handle data, int64_t now) {
            const BytesView view(data);
            Events events;
            self.on_bytes(view.data(), view.size(), now, events);
            return events.list;
          },
          nb::arg("data"), nb::arg("now"),
          "What was read, cut anywhere; returns the list of events (wirepath.feed.events).\n"
          "Unsequenced messages have sequence number 0.")
      .def(
          "on_time",
          [](SoupBinTcp& self, int64_t now) {
            Events events;
            self.on_time(now, events);
            return events.list;
          },
          nb::arg("now"),
          "Puts a heartbeat that is due into output(); ConnectionLost when the server is dead.")
      .def("logout", &SoupBinTcp::logout, nb::arg("now"))
      .def(
          "output",
          [](SoupBinTcp& self) {
            const nb::bytes out = Events::bytes(self.output().data(), self.output().size());
            self.sent(self.output().size());
            return out;
          },
          "Takes the bytes that are to be written to the connection now, b\"\" = none.")
      .def_prop_ro(
          "deadline",
          [](const SoupBinTcp& s) -> std::optional<int64_t> {
            if (s.deadline() == INT64_MAX) return {};
            return s.deadline();
          },
          "When on_time is due next, ns; None = never.")
      .def_prop_ro(
          "state", [](const SoupBinTcp& s) { return kSoupStates[static_cast<int>(s.state())]; },
          "idle, login, open, rejected, ended or dead.")
      .def_prop_ro("session", [](const SoupBinTcp& s) { return text_of(s.session()); })
      .def_prop_ro("next_sequence", &SoupBinTcp::next_sequence,
                   "Number of the next message that has not come; 0: not known yet.")
      .def_prop_ro("counters", [](const SoupBinTcp& s) { return counters_of(s.counters()); });
}

}  // namespace wp::python
