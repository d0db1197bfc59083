// SPDX-License-Identifier: Apache-2.0
// The price of the tap: a worker over null with a stage that reads one field of every frame, alone
// and with a capturer that takes the frames out of the rings in another thread. --work-ns: what
// else the stage does for each frame, left out of the result; without it no capturer keeps up.
// Built a second time with WP_WITHOUT_TAP, in which the data path has no tap at all.
#include <atomic>
#include <cinttypes>
#include <memory>
#include <thread>

#include "backends/builtin.h"
#include "bench.h"
#include "core/pause.h"
#include "core/worker.h"
#ifndef WP_WITHOUT_TAP
#include "capture/tap_source.h"
#endif

namespace {

class ReadField final : public wp::Stage {
 public:
  explicit ReadField(uint64_t work_ns) : work_ns_(work_ns) {}
  const char* name() const noexcept override { return "read_field"; }
  bool process(wp_batch& batch) noexcept override {
    for (uint32_t i = 0; i < batch.count; i++) sum += batch.data[i][42];
    if (work_ns_ == 0) return true;
    const uint64_t begin = wp::bench::now_ns(), end = begin + work_ns_ * batch.count;
    uint64_t now = begin;
    while (now < end) now = wp::bench::now_ns();
    worked += now - begin;
    return true;
  }
  uint64_t sum = 0;
  uint64_t worked = 0;  // ns

 private:
  const uint64_t work_ns_;
};

#ifndef WP_WITHOUT_TAP
// Takes frames out, and reads a byte of each, until told to stop.
void capture(wp::capture::TapSource& source, uint64_t cpu, const std::atomic<bool>& stop,
             uint64_t& taken, uint64_t& sum) {
  wp::bench::pin(cpu);
  while (!stop.load(std::memory_order_relaxed)) {
    const wp::FrameRecord* record = source.peek(0);
    if (!record) {
      wp::cpu_pause();
      continue;
    }
    sum += record->data()[0];
    taken++;
    source.consume(0, record);
  }
}
#endif

}  // namespace

int main(int argc, char** argv) {
  const wp::bench::Arguments args(argc, argv,
                                  {{"cpu", "1"},
                                   {"capturer-cpu", "0"},
                                   {"packets", "40000000"},
                                   {"frame-size", "64"},
                                   {"snap", "0"},  // 0 = nobody captures
                                   {"work-ns", "0"},
                                   {"ring", "8388608"}});
  wp::register_backend(wp::kNullBackend);
  const uint64_t packets = args.number("packets");
  const std::shared_ptr<wp::Port> port = wp::open_port(
      "null:,frames=" + std::to_string(packets) + ",frame_size=" + args.text("frame-size"),
      {true, {}}, {}, 64);
  wp::Worker worker(
      {.cpu_core = static_cast<int>(args.number("cpu")), .idle = wp::IdlePolicy::kSpin});
  worker.add_port(port);
  const auto stage = std::make_shared<ReadField>(args.number("work-ns"));
  worker.add_stage(stage);
  std::atomic<bool> stop{false};
  uint64_t taken = 0, dropped = 0, sum = 0;
  std::thread capturer;
#ifndef WP_WITHOUT_TAP
  std::unique_ptr<wp::capture::TapSource> source;
  if (const auto snap = static_cast<uint32_t>(args.number("snap"))) {
    source = std::make_unique<wp::capture::TapSource>(wp::Telemetry::process().name(), port->spec(),
                                                      args.number("ring"), snap,
                                                      std::span<const wp::BpfInstruction>());
    capturer =
        std::thread([&] { capture(*source, args.number("capturer-cpu"), stop, taken, sum); });
  }
#endif
  const uint64_t start = wp::bench::now_ns();
  worker.start();
  worker.join();
  const uint64_t elapsed = wp::bench::now_ns() - start - stage->worked;
  stop.store(true);
  if (capturer.joinable()) capturer.join();
#ifndef WP_WITHOUT_TAP
  if (source) {
    dropped = source->counts(0).dropped;
    while (const wp::FrameRecord* record = source->peek(0)) {
      taken++;
      source->consume(0, record);
    }
  }
#endif
  std::printf("{\"packets\": %" PRIu64 ", \"ns_per_packet\": %.4f, \"taken\": %" PRIu64
              ", \"dropped\": %" PRIu64 ", \"sum\": %" PRIu64 "}\n",
              packets, static_cast<double>(elapsed) / static_cast<double>(packets), taken, dropped,
              sum + stage->sum);
}
