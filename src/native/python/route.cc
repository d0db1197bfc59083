// SPDX-License-Identifier: Apache-2.0
// Forwarding tables, next hops, and the streams that routes come from.
#include <cstring>
#include <iterator>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "python/bindings.h"
#include "route/fib.h"
#include "route/fpm_stream.h"
#include "route/netlink_receiver.h"
#include "route/next_hops.h"

namespace wp::python {
namespace {

using namespace wp::route;

// Whatever changes or walks a table does it one at a time; look-ups do not wait.
struct LockedFib {
  std::unique_ptr<Fib> fib;
  std::mutex mutex;
};

size_t rows(const LockedFib& self, const BytesView& prefixes, const BytesView& lengths) {
  if (prefixes.size() != lengths.size() * self.fib->address_bytes())
    throw config_error("prefixes", std::to_string(prefixes.size()) + " bytes",
                       std::to_string(self.fib->address_bytes()) + " bytes for each of the " +
                           std::to_string(lengths.size()) + " lengths");
  return lengths.size();
}

nb::object numbers(size_t n, uint8_t** data, const char* type) {
  NewArray out = new_array(n, nb::str(type));
  *data = out.data;
  return out.array;
}

size_t add(LockedFib& self, nb::object prefixes, nb::object lengths, nb::object next_hops) {
  const BytesView p(prefixes), l(lengths), h(next_hops);
  const size_t n = rows(self, p, l);
  if (h.size() != n * sizeof(uint32_t))
    throw config_error("next_hops", std::to_string(h.size() / sizeof(uint32_t)) + " numbers",
                       "one for each of the " + std::to_string(n) + " prefixes");
  nb::gil_scoped_release release;
  const std::lock_guard lock(self.mutex);
  return self.fib->add(p.data(), l.data(), reinterpret_cast<const uint32_t*>(h.data()), n);
}

size_t remove(LockedFib& self, nb::object prefixes, nb::object lengths) {
  const BytesView p(prefixes), l(lengths);
  const size_t n = rows(self, p, l);
  nb::gil_scoped_release release;
  const std::lock_guard lock(self.mutex);
  return self.fib->remove(p.data(), l.data(), n);
}

nb::object lookup(const LockedFib& self, nb::object addresses) {
  const BytesView a(addresses);
  const size_t n = a.size() / self.fib->address_bytes();
  if (a.size() % self.fib->address_bytes())
    throw config_error("addresses", std::to_string(a.size()) + " bytes",
                       "a multiple of " + std::to_string(self.fib->address_bytes()));
  uint8_t* data;
  nb::object out = numbers(n, &data, "<u4");
  nb::gil_scoped_release release;
  self.fib->lookup(a.data(), n, reinterpret_cast<uint32_t*>(data));
  return out;
}

const uint8_t* one_address(const LockedFib& self, const nb::bytes& address) {
  if (address.size() != self.fib->address_bytes())
    throw config_error("address", std::to_string(address.size()) + " bytes",
                       std::to_string(self.fib->address_bytes()) + " bytes");
  return reinterpret_cast<const uint8_t*>(address.c_str());
}

nb::object match(LockedFib& self, const nb::bytes& address) {
  const uint8_t* a = one_address(self, address);
  const std::lock_guard lock(self.mutex);
  const Fib::Match m = self.fib->match(a);
  if (!m.next_hop) return nb::none();
  return nb::make_tuple(m.length, m.next_hop);
}

nb::tuple dump(LockedFib& self) {
  const std::lock_guard lock(self.mutex);
  const size_t n = self.fib->size();
  uint8_t *p, *l, *h;
  nb::object prefixes = numbers(n * self.fib->address_bytes(), &p, "u1");
  nb::object lengths = numbers(n, &l, "u1");
  nb::object next_hops = numbers(n, &h, "<u4");
  self.fib->dump(p, l, reinterpret_cast<uint32_t*>(h));
  return nb::make_tuple(prefixes.attr("reshape")(n, self.fib->address_bytes()), lengths, next_hops);
}

nb::dict memory(LockedFib& self) {
  const std::lock_guard lock(self.mutex);
  const FibMemory m = self.fib->memory();
  nb::dict out;
  out["prefix_set"] = m.prefixes;
  out["root"] = m.root_resident;
  out["root_bound"] = m.root_reserved;
  out["groups"] = m.groups_resident;
  out["groups_bound"] = m.groups_reserved;
  out["depths"] = m.depths_resident;
  out["depths_bound"] = m.depths_reserved;
  out["groups_used"] = m.groups_used;
  out["groups_limit"] = m.groups_limit;
  out["lookup_bytes"] = m.root_resident + m.groups_resident;
  out["bytes"] = m.prefixes + m.root_resident + m.groups_resident + m.depths_resident;
  return out;
}

void copy_mac(uint8_t* to, const nb::bytes& from, const char* field) {
  if (from.size() != 6)
    throw config_error(field, std::to_string(from.size()) + " bytes", "6 bytes");
  std::memcpy(to, from.c_str(), 6);
}

void set_next_hop(NextHops& self, uint32_t number, int kind, uint32_t interface,
                  const nb::bytes& destination, const nb::bytes& source, uint32_t mtu,
                  uint32_t vlan, uint32_t port, uint32_t out) {
  NextHop hop{};
  if (kind < 0 || kind > static_cast<int>(NextHopKind::kProhibit))
    throw config_error("kind", std::to_string(kind), "a NextHopKind, from 0 to 5");
  if (vlan > 4094) throw config_error("vlan", std::to_string(vlan), "from 0 to 4094");
  hop.kind = static_cast<uint8_t>(kind);
  hop.interface_index = interface;
  hop.mtu = mtu;
  hop.vlan = static_cast<uint16_t>(vlan);
  if (port > 255) throw config_error("port", std::to_string(port), "from 0 to 255");
  if (out > 255) throw config_error("out", std::to_string(out), "from 0 to 255");
  hop.port = static_cast<uint16_t>(port);
  hop.interface = static_cast<uint16_t>(out);
  copy_mac(hop.destination, destination, "destination");
  copy_mac(hop.source, source, "source");
  self.set(number, hop);
}

nb::tuple get_next_hop(const NextHops& self, uint32_t number) {
  if (number > self.max_next_hops())
    throw config_error("next_hop", std::to_string(number),
                       "at most " + std::to_string(self.max_next_hops()));
  const NextHop hop = self.get(number);
  const auto mac = [](const uint8_t* m) { return nb::bytes(reinterpret_cast<const char*>(m), 6); };
  return nb::make_tuple(hop.kind, hop.interface_index, mac(hop.destination), mac(hop.source),
                        hop.mtu, hop.vlan, hop.port, hop.interface);
}

uint32_t set_group(NextHops& self, uint32_t group,
                   const std::vector<std::pair<uint16_t, uint16_t>>& members) {
  std::vector<Member> out;
  for (const auto& [next_hop, weight] : members) out.push_back({next_hop, weight});
  return self.set_group(group, out);
}

uint16_t select(const NextHops& self, uint32_t group, uint32_t hash) {
  if (group > self.max_groups())
    throw config_error("group", std::to_string(group),
                       "at most " + std::to_string(self.max_groups()));
  return self.select(group, hash);
}

nb::object events_array(const std::vector<RouteEvent>& events) {
  NewArray out = new_array(events.size(), dtype_named("ROUTE_EVENT"));
  if (!events.empty()) std::memcpy(out.data, events.data(), events.size() * sizeof(RouteEvent));
  return out.array;
}

nb::dict counters_of(const RtnetlinkCounters& c) {
  nb::dict out;
  out["messages"] = c.messages;
  out["events"] = c.events;
  out["unknown"] = c.unknown;
  out["malformed"] = c.malformed;
  out["encap"] = c.encap;
  out["interrupted"] = c.interrupted;
  return out;
}

class RtnetlinkDecoder {
 public:
  nb::object decode(nb::object data) {
    const BytesView view(data);
    events_.clear();
    decode_rtnetlink(view.data(), view.size(), events_, counters_);
    return events_array(events_);
  }
  nb::tuple receive(int fd, size_t most) {
    events_.clear();
    NetlinkReading said;
    {
      nb::gil_scoped_release release;
      said = receiver_.read(fd, most, events_, counters_);
    }
    return nb::make_tuple(events_array(events_), said.missed, said.more, said.error);
  }
  nb::dict counters() const { return counters_of(counters_); }

 private:
  NetlinkReceiver receiver_;
  std::vector<RouteEvent> events_;
  RtnetlinkCounters counters_;
};

nb::object feed(FpmStream& self, nb::object data) {
  const BytesView view(data);
  std::vector<RouteEvent> events;
  self.feed(view.data(), view.size(), events);
  return events_array(events);
}

nb::dict fpm_counters(const FpmStream& self) {
  const FpmCounters& c = self.counters();
  nb::dict out = counters_of(c.netlink);
  out["bytes"] = c.bytes;
  out["frames"] = c.frames;
  out["other_frames"] = c.other_frames;
  return out;
}

// Three writable buffers, or none. Who keeps them alive is the caller's matter.
class Borrowed {
 public:
  Borrowed(const nb::object& memory, const char* what) {
    if (memory.is_none()) return;
    if (nb::len(memory) != std::size(at_))
      throw config_error("memory", std::to_string(nb::len(memory)) + " buffers", what);
    for (size_t i = 0; i < std::size(at_); i++) {
      const BytesView view(memory[i], true);
      at_[i] = {view.data(), view.size()};
    }
  }
  std::span<uint8_t> operator[](size_t i) const noexcept { return at_[i]; }

 private:
  std::span<uint8_t> at_[3];
};

void bind_fib(nb::module_& m) {
  nb::class_<LockedFib>(m, "Fib", "See wirepath.route.Fib.")
      .def(
          "__init__",
          [](LockedFib* self, int family, int entry_bytes, size_t max_prefixes, size_t max_groups,
             bool huge_pages, nb::object memory) {
            const Borrowed at(memory, "root, groups, state");
            auto fib = Fib::make(
                {family, entry_bytes, max_prefixes, max_groups, huge_pages, {at[0], at[1], at[2]}});
            new (self) LockedFib{std::move(fib), {}};
          },
          nb::arg("family"), nb::arg("entry_bytes") = 4, nb::arg("max_prefixes") = 0,
          nb::arg("max_groups") = 0, nb::arg("huge_pages") = true,
          nb::arg("memory").none() = nb::none(), nb::keep_alive<1, 7>(),
          "memory: writable buffers for root, groups and state, kept as long as the table.")
      .def("add", add, nb::arg("prefixes"), nb::arg("lengths"), nb::arg("next_hops"),
           "Buffers: addresses in network order, u8 lengths, u32 next hops. How many were new.")
      .def("remove", remove, nb::arg("prefixes"), nb::arg("lengths"), "How many were there.")
      .def("lookup", lookup, nb::arg("addresses"),
           "u32 next hops of addresses in network order; 0 = none. Any thread, without a lock.")
      .def("match", match, nb::arg("address"),
           "(length, next hop) of the longest prefix that holds the address, or None.")
      .def(
          "find",
          [](LockedFib& self, const nb::bytes& prefix, uint8_t length) {
            const uint8_t* p = one_address(self, prefix);
            const std::lock_guard lock(self.mutex);
            return self.fib->find(p, length);
          },
          nb::arg("prefix"), nb::arg("length"), "Next hop of this very prefix; 0 = not there.")
      .def("dump", dump, "(prefixes, lengths, next hops) of all, in no order.")
      .def("memory", memory, "Bytes by part, with their bounds.")
      .def("__len__",
           [](LockedFib& self) {
             const std::lock_guard lock(self.mutex);
             return self.fib->size();
           })
      .def_prop_ro("family", [](const LockedFib& self) { return self.fib->options().family; })
      .def_prop_ro("entry_bytes",
                   [](const LockedFib& self) { return self.fib->options().entry_bytes; })
      .def_prop_ro("max_prefixes",
                   [](const LockedFib& self) { return self.fib->options().max_prefixes; })
      .def_prop_ro("max_next_hop", [](const LockedFib& self) { return self.fib->max_next_hop(); });
}

}  // namespace

void bind_route(nb::module_& m) {
  bind_fib(m);
  nb::class_<NextHops>(m, "NextHops", "See wirepath.route.RouteTable.")
      .def(
          "__init__",
          [](NextHops* self, uint32_t max_next_hops, uint32_t max_groups, uint32_t buckets,
             nb::object memory) {
            const Borrowed at(memory, "hops, buckets, reach");
            new (self) NextHops(max_next_hops, max_groups, buckets, {at[0], at[1], at[2]});
          },
          nb::arg("max_next_hops") = 4095, nb::arg("max_groups") = 4095, nb::arg("buckets") = 128,
          nb::arg("memory").none() = nb::none(), nb::keep_alive<1, 5>(),
          "memory: writable buffers for hops, buckets and reach, kept as long as this.")
      .def(
          "set", set_next_hop, nb::arg("next_hop"), nb::arg("kind"), nb::arg("interface") = 0,
          nb::arg("destination") = nb::bytes("\0\0\0\0\0\0", 6),
          nb::arg("source") = nb::bytes("\0\0\0\0\0\0", 6), nb::arg("mtu") = 0, nb::arg("vlan") = 0,
          nb::arg("port") = 0, nb::arg("out") = 0,
          "Changes a next hop in place: a reader sees all of it or none. port, out: numbers of the "
          "router's port and interface (src/programs/route_shared.h).")
      .def("get", get_next_hop, nb::arg("next_hop"),
           "(kind, interface, destination, source, mtu, vlan, port, out)")
      .def("set_group", set_group, nb::arg("group"), nb::arg("members"),
           "Members are (next hop, weight). How many buckets moved to another member.")
      .def("select", select, nb::arg("group"), nb::arg("hash"),
           "The member that a flow hash falls to; 0 = none.")
      .def("buckets", &NextHops::buckets, nb::arg("group"))
      .def(
          "reach",
          [](const NextHops& self, uint32_t group) {
            std::vector<uint32_t> out;
            const Reach reach = self.reach(group);
            for (uint32_t i = 0; i < 256; i++)
              if (reach.interfaces[i / 64] >> i % 64 & 1) out.push_back(i);
            return out;
          },
          nb::arg("group"),
          "Interfaces that its members lead out of; 0 stands for any that is none of the router's.")
      .def_prop_ro("max_next_hops", &NextHops::max_next_hops)
      .def_prop_ro("max_groups", &NextHops::max_groups)
      .def_prop_ro("bucket_count", &NextHops::bucket_count)
      .def_prop_ro("resident", &NextHops::resident)
      .def_prop_ro("reserved", &NextHops::reserved);
  nb::class_<RtnetlinkDecoder>(m, "RtnetlinkDecoder", "rtnetlink messages to route events.")
      .def(nb::init<>())
      .def("decode", &RtnetlinkDecoder::decode, nb::arg("data"),
           "Whole netlink messages, as recv() gave them, to an array of dtypes.ROUTE_EVENT.")
      .def(
          "receive", &RtnetlinkDecoder::receive, nb::arg("fd"), nb::arg("most"),
          "What waits in a netlink socket, without waiting for anything and without the GIL, until "
          "there are at least so many events: (array of dtypes.ROUTE_EVENT, whether messages were "
          "missed, whether there may be more, an errno or 0).")
      .def_prop_ro("counters", &RtnetlinkDecoder::counters);
  nb::class_<FpmStream>(m, "FpmStream", "FRR's dplane_fpm_nl stream to route events.")
      .def(nb::init<>())
      .def("feed", feed, nb::arg("data"),
           "The next bytes, cut anywhere; the events of the frames that are whole by now, as an "
           "array of dtypes.ROUTE_EVENT.")
      .def_prop_ro("broken", &FpmStream::broken,
                   "A header came that cannot be one: nothing after it is read.")
      .def_prop_ro("pending", &FpmStream::pending, "Bytes held of a frame that is not whole.")
      .def_prop_ro("counters", fpm_counters);
}

}  // namespace wp::python
