// SPDX-License-Identifier: Apache-2.0
#include "core/telemetry.h"

#include <nanobind/stl/shared_ptr.h>

#include <cstring>
#include <memory>

#include "core/error.h"
#include "python/bindings.h"

namespace wp::python {
namespace {

std::shared_ptr<Histogram> copy_of(const Histogram& other) {
  auto out = std::make_shared<Histogram>();
  out->merge(other);
  return out;
}

// Cells that Python writes: of a control plane whose data path is not in this process.
class CounterBlock {
 public:
  CounterBlock(const std::string& group, const std::vector<std::string>& names)
      : size_(names.size()) {
    std::vector<const char*> texts;
    for (const std::string& name : names) texts.push_back(name.c_str());
    cells_ = telemetry_.counters(group, texts);
  }
  CounterBlock(const CounterBlock&) = delete;
  CounterBlock& operator=(const CounterBlock&) = delete;
  ~CounterBlock() { release(); }

  void set(const std::vector<uint64_t>& values) {
    if (!cells_) throw Error(ErrorKind::kReleased, "the counters were released");
    if (values.size() != size_)
      throw Error(ErrorKind::kConfig, std::to_string(values.size()) + " values for " +
                                          std::to_string(size_) + " counters");
    for (size_t i = 0; i < size_; i++) cells_[i].set(values[i]);
  }
  void release() noexcept {
    if (cells_) telemetry_.release(cells_);
    cells_ = nullptr;
  }

 private:
  Telemetry& telemetry_ = Telemetry::process();
  Counter* cells_ = nullptr;
  size_t size_;
};

}  // namespace

void bind_telemetry(nb::module_& m) {
  nb::class_<Histogram>(
      m, "Histogram",
      "Log-linear histogram of nanoseconds: 1 ns to 17 s, 128 steps in every power of two, so any\n"
      "quantile is within 0.4 % of a recorded value. HdrHistogram's layout for two digits.")
      .def("__init__", [](Histogram* self) { new (self) Histogram(); })
      .def("record", &Histogram::record, nb::arg("value_ns"), nb::arg("count") = 1,
           "Add `count` samples of `value_ns`. Negative ones count as 0 and in `negative`, those\n"
           "past the range as the highest and in `overflow`.")
      .def("merge", &Histogram::merge, nb::arg("other"), "Add every sample of another histogram.")
      .def("reset", &Histogram::reset, "Forget every sample.")
      .def("copy", [](const Histogram& h) { return copy_of(h); })
      .def("quantile", &Histogram::quantile, nb::arg("q"),
           "Nanoseconds at quantile q, 0 to 1; 0 when empty.")
      .def_prop_ro("total", &Histogram::total)
      .def_prop_ro("min", &Histogram::min)
      .def_prop_ro("max", &Histogram::max)
      .def_prop_ro("mean", &Histogram::mean)
      .def_prop_ro("negative", &Histogram::negative)
      .def_prop_ro("overflow", &Histogram::overflow)
      .def(
          "counts",
          [](const Histogram& h) {
            NewArray out = new_array(Histogram::kBuckets, nb::str("<u8"));
            for (size_t i = 0; i < Histogram::kBuckets; i++) {
              const uint64_t n = h.count_at(i);
              std::memcpy(out.data + 8 * i, &n, 8);
            }
            return out.array;
          },
          "Samples in each bucket: ndarray of uint64, indexed as HdrHistogram's counts array.")
      .def_static(
          "bucket_lows",
          [] {
            NewArray out = new_array(Histogram::kBuckets, nb::str("<i8"));
            for (size_t i = 0; i < Histogram::kBuckets; i++) {
              const auto low = static_cast<int64_t>(Histogram::lowest_in(i));
              std::memcpy(out.data + 8 * i, &low, 8);
            }
            return out.array;
          },
          "Lowest value (ns) of each bucket: ndarray of int64.");

  nb::class_<CounterBlock>(
      m, "CounterBlock",
      "Counters of this process's segment, named group/name, that Python writes.")
      .def(nb::init<const std::string&, const std::vector<std::string>&>(), nb::arg("group"),
           nb::arg("names"))
      .def("set", &CounterBlock::set, nb::arg("values"), "A value for each, in their order.")
      .def("release", &CounterBlock::release, "Take them out of the segment.");

  m.def(
      "telemetry_name", [] { return Telemetry::process().name(); },
      "Name of this process's counter segment; empty where it is private.");
  m.def(
      "telemetry_read",
      [](const std::string& name) {
        std::unique_ptr<Telemetry> attached;
        if (!name.empty()) attached = Telemetry::attach(name);
        const Telemetry& source = attached ? *attached : Telemetry::process();
        nb::dict counters, histograms;
        for (const TelemetryEntry& e : source.entries()) {
          if (e.kind == Kind::kHistogram)
            histograms[e.name.c_str()] = nb::cast(copy_of(*e.histogram));
          else if (e.kind != Kind::kTap)
            counters[e.name.c_str()] = e.value;
        }
        return nb::make_tuple(counters, histograms);
      },
      nb::arg("name") = "",
      "(counters, histograms) of a process: its own, or those of the segment `name`.");
}

}  // namespace wp::python
