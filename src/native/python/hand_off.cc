// SPDX-License-Identifier: Apache-2.0
#include "core/hand_off.h"

#include <time.h>

#include <algorithm>
#include <utility>

#include "core/clock.h"
#include "core/error.h"
#include "core/pause.h"
#include "python/py_batch.h"

namespace wp::python {
namespace {

// Gives a slot back when the last memoryview of it is gone.
class SlotOwner final : public FrameOwner {
 public:
  explicit SlotOwner(std::shared_ptr<HandOff> hand_off) : hand_off_(std::move(hand_off)) {}
  void give_back_frame(uint32_t, uint8_t*, uint64_t slot) override {
    hand_off_->release(static_cast<uint32_t>(slot));
  }

 private:
  std::shared_ptr<HandOff> hand_off_;
};

class HeldFrame {
 public:
  HeldFrame(std::shared_ptr<HandOff> hand_off, uint32_t slot)
      : hand_off_(std::move(hand_off)), slot_(slot), frame_(hand_off_->frame(slot)) {}
  ~HeldFrame() { release(); }
  HeldFrame(const HeldFrame&) = delete;
  HeldFrame& operator=(const HeldFrame&) = delete;

  nb::object view() {
    if (!hand_off_)
      throw Error(ErrorKind::kReleased, "the frame has been released",
                  "use it before, or keep bytes(frame.view)");
    if (!memory_.frame.is_valid())
      memory_ = FrameMemory::of(frame_.data, frame_.length, !hand_off_->writable(frame_));
    return memory_.memory_view;
  }
  void release() {
    if (!hand_off_) return;
    const std::shared_ptr<HandOff> hand_off = std::exchange(hand_off_, nullptr);
    if (memory_.frame.is_valid() && !memory_.release()) {
      memory_.view().handle = slot_;
      memory_.view().owner = std::make_shared<SlotOwner>(hand_off);
    } else {
      hand_off->release(slot_);
    }
    memory_ = {};
  }
  bool released() const noexcept { return !hand_off_; }
  const HandOff::Frame& frame() const noexcept { return frame_; }

 private:
  std::shared_ptr<HandOff> hand_off_;
  uint32_t slot_;
  HandOff::Frame frame_;
  FrameMemory memory_;
};

// Until a frame waits, the worker has ended or `deadline` (ns, steady) has passed.
void wait_for_frame(const HandOff& hand_off, int64_t deadline) {
  for (uint32_t spin = 0; hand_off.waiting() == 0 && !hand_off.ended(); spin++) {
    if (NativeWait::ending()) return;
    if (spin < 1000) {
      cpu_pause();
      continue;
    }
    if (Clock::steady() >= deadline) return;
    const timespec nap{0, 20'000};
    nanosleep(&nap, nullptr);
  }
}

// Frames may be popped after a wait only with the GIL: it makes consumers take turns.
bool wait_until_ready(const HandOff& hand_off, double timeout) {
  if (hand_off.waiting() != 0 || timeout <= 0) return hand_off.waiting() != 0;
  const NativeWait outside;
  const int64_t end = Clock::steady() + static_cast<int64_t>(std::min(timeout, 1e9) * 1e9);
  for (;;) {
    const int64_t now = Clock::steady();
    if (hand_off.waiting() != 0) return true;
    if (now >= end || hand_off.ended() || NativeWait::ending()) return hand_off.waiting() != 0;
    {
      nb::gil_scoped_release release;  // Ctrl-C is looked for every tenth of a second
      wait_for_frame(hand_off, std::min(end, now + 100'000'000));
    }
    if (PyErr_CheckSignals() != 0) throw nb::python_error();
  }
}

nb::object pop(const std::shared_ptr<HandOff>& hand_off, double timeout) {
  uint32_t slot = 0;
  if (!wait_until_ready(*hand_off, timeout) || !hand_off->pop(slot)) return nb::none();
  return nb::cast(new HeldFrame(hand_off, slot), nb::rv_policy::take_ownership);
}

nb::list pop_batch(const std::shared_ptr<HandOff>& hand_off, size_t max, double timeout) {
  if (max == 0) throw config_error("max", "0", "at least 1");
  nb::list out;
  wait_until_ready(*hand_off, timeout);
  for (uint32_t slot = 0; nb::len(out) < max && hand_off->pop(slot);)
    out.append(nb::cast(new HeldFrame(hand_off, slot), nb::rv_policy::take_ownership));
  return out;
}

}  // namespace

void bind_hand_off(nb::module_& m) {
  nb::class_<HeldFrame>(
      m, "HeldFrame",
      "A frame that the consumer of a HandOff has: use it, then release() it, or\n"
      "`with frame as view:`. An array made from its memoryview keeps it held.")
      .def_prop_ro(
          "view", &HeldFrame::view,
          "Its bytes from the Ethernet header on, a memoryview: the port's own buffer where\n"
          "by_reference, then writable unless port.capabilities says that frames are not.\n"
          "Raises ReleasedError once released.")
      .def("release", &HeldFrame::release,
           "Give it back; from then on its views raise. Any thread.")
      .def_prop_ro("released", &HeldFrame::released)
      .def("__len__", [](const HeldFrame& f) { return f.frame().length; })
      .def_prop_ro(
          "timestamp", [](const HeldFrame& f) { return f.frame().timestamp; },
          "When it arrived, ns since the Unix epoch; source: the port's info().")
      .def_prop_ro("hash", [](const HeldFrame& f) { return f.frame().hash; })
      .def_prop_ro(
          "port", [](const HeldFrame& f) { return f.frame().port; },
          "Number of the port within its worker.")
      .def_prop_ro("queue", [](const HeldFrame& f) { return f.frame().queue; })
      .def_prop_ro(
          "by_reference", [](const HeldFrame& f) { return f.frame().by_reference; },
          "False: it was short, and copied.")
      .def("__enter__", &HeldFrame::view)
      .def("__exit__", [](HeldFrame& f, nb::args) { f.release(); });

  nb::class_<HandOff, Stage>(
      m, "HandOff",
      "The last stage of a worker, which hands frames to a consumer in another thread: those of\n"
      "at least `zero_copy_threshold` bytes by reference (verdict KEEP), shorter ones copied.\n\n"
      "zero_copy_threshold: bytes, 0 to 65536. capacity: frames that may be out at a time, waiting "
      "or with\n"
      "the consumer, 1 to 1048576. max_held: of them by reference; None = capacity, or three\n"
      "quarters of the port's buffers where that is less; more than those is refused when the\n"
      "worker starts. What finds no room is dropped and counted. take: \"all\" frames that no\n"
      "stage before gave a verdict, or those it \"kept\" (verdict KEEP).")
      .def(
          "__init__",
          [](HandOff* self, uint32_t zero_copy_threshold, uint32_t capacity,
             std::optional<uint32_t> max_held, const std::string& take, const std::string& name) {
            if (take != "all" && take != "kept")
              throw config_error("take", "\"" + take + "\"", "\"all\" or \"kept\"");
            if (max_held && *max_held == 0)
              throw config_error("max_held", "0",
                                 "at least 1 (zero_copy_threshold = 65536 has every frame copied)");
            new (self) HandOff(
                {name, zero_copy_threshold, capacity, max_held.value_or(0), take == "kept"});
          },
          nb::arg("zero_copy_threshold") = 64, nb::arg("capacity") = 4096,
          nb::arg("max_held").none() = nb::none(), nb::arg("take") = "all",
          nb::arg("name") = "hand_off")
      .def("pop", &pop, nb::arg("timeout") = 0.0,
           "The next frame, waiting up to `timeout` seconds; None when none came, or the worker\n"
           "has ended and all were taken.")
      .def("pop_batch", &pop_batch, nb::arg("max") = 64, nb::arg("timeout") = 0.0,
           "Up to `max` frames that are there, waiting up to `timeout` seconds for the first.")
      .def(
          "close",
          [](HandOff& h) {
            for (uint32_t slot = 0; h.pop(slot);) h.release(slot);
          },
          "Release every frame that waits.")
      .def("__len__", &HandOff::waiting, "Frames that wait for the consumer.")
      .def_prop_ro("ended", &HandOff::ended, "The worker has ended: no more frames will come.")
      .def_prop_ro("max_held", &HandOff::max_held, "Bound in force, known once the worker started.")
      .def_prop_ro("zero_copy_threshold",
                   [](const HandOff& h) { return h.config().zero_copy_threshold; })
      .def_prop_ro("capacity", [](const HandOff& h) { return h.config().capacity; })
      .def(
          "stats", [](const HandOff& h) { return to_python(h.stats()); },
          "frames = by_reference + copied + drop.queue_full + drop.held_full + drop.not_owned;\n"
          "held: by reference and not given back yet.");
}

}  // namespace wp::python
