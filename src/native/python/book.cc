// SPDX-License-Identifier: Apache-2.0
#include "feed/book.h"

#include <cstring>
#include <mutex>
#include <vector>

#include "core/error.h"
#include "feed/locked_books.h"
#include "python/bindings.h"

namespace wp::python {
namespace {

using feed::Bbo;
using feed::BookCounters;
using feed::BookLevel;
using feed::BookOptions;
using feed::BookOrder;

// Python threads may call at the same time while apply runs without the GIL, or a feed's worker.
using PyBooks = feed::LockedBooks;

char checked_side(const std::string& side) {
  if (side != "B" && side != "S") throw config_error("side", "\"" + side + "\"", "\"B\" or \"S\"");
  return side[0];
}

template <class Row>
nb::object rows(const std::vector<Row>& from, const char* dtype) {
  NewArray out = new_array(from.size(), dtype_named(dtype));
  if (!from.empty()) std::memcpy(out.data, from.data(), from.size() * sizeof(Row));
  return out.array;
}

nb::object apply(PyBooks& self, nb::handle records, bool want_bbo) {
  const BytesView in(records);
  const size_t n = in.size() / sizeof(wp_record);
  const auto* first = reinterpret_cast<const wp_record*>(in.data());
  std::vector<Bbo> bbo;
  {
    nb::gil_scoped_release release;
    const std::lock_guard lock(self.mutex);
    if (want_bbo) bbo.resize(n + self.books.pending());
    bbo.resize(self.books.apply(first, n, want_bbo ? bbo.data() : nullptr));
  }
  return rows(bbo, "BBO");
}

}  // namespace

void bind_book(nb::module_& m) {
  nb::class_<PyBooks>(m, "Books", "Native order books; see wirepath.feed.Books.")
      .def(
          "__init__",
          [](PyBooks* self, size_t orders, size_t max_orders, size_t instruments, size_t offences,
             size_t depth, size_t implied_depth) {
            new (self) PyBooks({orders, max_orders, instruments, offences, depth, implied_depth});
          },
          nb::arg("orders"), nb::arg("max_orders"), nb::arg("instruments"), nb::arg("offences"),
          nb::arg("depth"), nb::arg("implied_depth"))
      .def("apply", &apply, nb::arg("records"), nb::arg("bbo"))
      .def(
          "depth",
          [](PyBooks& self, uint32_t instrument, const std::string& side, size_t levels) {
            const std::lock_guard lock(self.mutex);
            std::vector<BookLevel> out(
                std::min(levels, self.books.level_count(instrument, checked_side(side))));
            out.resize(self.books.depth(instrument, side[0], out));
            return rows(out, "LEVEL");
          },
          nb::arg("instrument"), nb::arg("side"), nb::arg("levels"))
      .def(
          "implied",
          [](PyBooks& self, uint32_t instrument, const std::string& side) {
            const std::lock_guard lock(self.mutex);
            checked_side(side);
            std::vector<BookLevel> out(feed::kMostLevels);
            out.resize(self.books.implied(instrument, side[0], out));
            return rows(out, "LEVEL");
          },
          nb::arg("instrument"), nb::arg("side"))
      .def(
          "orders",
          [](PyBooks& self, uint32_t instrument, const std::string& side) {
            const std::lock_guard lock(self.mutex);
            std::vector<BookOrder> out(self.books.order_count(instrument, checked_side(side)));
            self.books.orders(instrument, side[0], out);
            return rows(out, "ORDER");
          },
          nb::arg("instrument"), nb::arg("side"))
      .def(
          "best",
          [](PyBooks& self, uint32_t instrument) {
            const std::lock_guard lock(self.mutex);
            return rows(std::vector<Bbo>{self.books.best(instrument)}, "BBO");
          },
          nb::arg("instrument"))
      .def(
          "consistent",
          [](PyBooks& self, uint32_t instrument) {
            const std::lock_guard lock(self.mutex);
            return self.books.consistent(instrument);
          },
          nb::arg("instrument"))
      .def(
          "events",
          [](PyBooks& self, uint32_t instrument) {
            const std::lock_guard lock(self.mutex);
            return self.books.events(instrument);
          },
          nb::arg("instrument"))
      .def(
          "state",
          [](PyBooks& self, uint32_t instrument) {
            const std::lock_guard lock(self.mutex);
            return self.books.state(instrument);
          },
          nb::arg("instrument"))
      .def(
          "phase",
          [](PyBooks& self, uint32_t instrument) {
            const std::lock_guard lock(self.mutex);
            return static_cast<uint32_t>(self.books.phase(instrument));
          },
          nb::arg("instrument"))
      .def(
          "set_depth",
          [](PyBooks& self, uint32_t instrument, size_t depth, size_t implied) {
            const std::lock_guard lock(self.mutex);
            self.books.set_depth(instrument, depth, implied);
          },
          nb::arg("instrument"), nb::arg("depth"), nb::arg("implied"))
      .def(
          "set_group",
          [](PyBooks& self, uint32_t instrument, uint64_t group) {
            const std::lock_guard lock(self.mutex);
            self.books.set_group(instrument, group);
          },
          nb::arg("instrument"), nb::arg("group"))
      .def("offences",
           [](PyBooks& self) {
             const std::lock_guard lock(self.mutex);
             const auto seen = self.books.offences();
             return rows(std::vector<feed::BookOffence>(seen.begin(), seen.end()), "OFFENCE");
           })
      .def("instruments",
           [](PyBooks& self) {
             const std::lock_guard lock(self.mutex);
             return self.books.instruments();
           })
      .def("order_count",
           [](PyBooks& self) {
             const std::lock_guard lock(self.mutex);
             return self.books.order_count();
           })
      .def(
          "clear",
          [](PyBooks& self, std::optional<uint32_t> instrument) {
            const std::lock_guard lock(self.mutex);
            instrument ? self.books.clear(*instrument) : self.books.clear();
          },
          nb::arg("instrument") = nb::none())
      .def_prop_ro("counters", [](PyBooks& self) {
        const std::lock_guard lock(self.mutex);
        const BookCounters& c = self.books.counters();
        nb::dict out;
        out["records"] = c.records;
        out["applied"] = c.applied;
        out["ignored"] = c.ignored;
        out["unknown_order"] = c.unknown_order;
        out["duplicate_order"] = c.duplicate_order;
        out["full"] = c.full;
        out["over_reduced"] = c.over_reduced;
        out["unknown_level"] = c.unknown_level;
        out["negative_size"] = c.negative_size;
        out["events"] = c.events;
        out["crossed"] = c.crossed;
        out["locked"] = c.locked;
        out["bbo_changes"] = c.bbo_changes;
        return out;
      });
}

}  // namespace wp::python
