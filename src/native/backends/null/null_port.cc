// SPDX-License-Identifier: Apache-2.0
// The null backend hands out a prepared frame for ever (or `frames` times): what is left when
// a benchmark runs on it is the price of the framework. What is sent to it is counted.
#include <algorithm>
#include <array>
#include <memory>
#include <vector>

#include "backends/builtin.h"
#include "core/backend.h"
#include "core/error.h"
#include "net/frame_builder.h"

namespace wp {
namespace {

constexpr std::array kOptions{
    OptionHelp{"frame_size", "64", "bytes of each frame, 60 to 9216"},
    OptionHelp{"frames", "0", "frames to hand out on each queue; 0 = without end"},
    OptionHelp{"queues", "1", "number of receive queues, 1 to 64"},
};

enum : size_t { kRxPackets, kRxBytes, kTxPackets, kTxBytes, kCounters };
constexpr std::array<const char*, kCounters> kNames{"rx_packets", "rx_bytes", "tx_packets",
                                                    "tx_bytes"};

class NullPort final : public Port {
 public:
  explicit NullPort(const PortConfig& config)
      : Port(config),
        frame_size_(static_cast<uint32_t>(config.options.integer("frame_size", 60, 9216))),
        limit_(static_cast<uint64_t>(config.options.integer("frames", 0, INT64_MAX))) {
    queues_ = static_cast<uint32_t>(config.options.integer("queues", 1, 64));
    states_ = std::vector<Queue>(queues_);
    for (uint32_t q = 0; q < queues_; q++) {
      states_[q].counters = add_counters(static_cast<int>(q), kNames);
      states_[q].frame = std::make_unique<uint8_t[]>(frame_size_);
      net::UdpFlow flow;
      flow.destination_port = 9;  // RFC 863, discard
      if (!config.steering.everything && !config.steering.rules.empty()) {
        const FlowRule& rule = config.steering.rules.front();
        if (rule.family == 4) std::copy_n(rule.address.begin(), 4, flow.destination_ip.begin());
        if (rule.port) flow.destination_port = rule.port;
      }
      const uint32_t payload = frame_size_ - static_cast<uint32_t>(net::kUdp4HeaderBytes);
      net::write_udp4_headers(states_[q].frame.get(), flow, static_cast<uint16_t>(payload));
    }
  }

  uint32_t rx(uint32_t queue, wp_batch& batch) noexcept override {
    Queue& state = states_[queue];
    uint32_t n = batch.capacity;
    if (limit_) {
      n = static_cast<uint32_t>(std::min<uint64_t>(n, limit_ - state.handed_out));
      if (n == 0) {
        if (!state.done) {
          state.done = true;
          if (done_queues_.fetch_add(1) + 1 == queues_) finished_.store(true);
        }
        return batch.count = 0;
      }
    }
    const int64_t now = clock_.now();
    uint8_t* frame = state.frame.get();
    for (uint32_t i = 0; i < n; i++) {
      batch.data[i] = frame;
      batch.length[i] = frame_size_;
      batch.timestamp[i] = now;
      batch.verdict[i] = WP_DROP;
      batch.hash[i] = 0;
      batch.handle[i] = i;
    }
    batch.count = n;
    state.handed_out += n;
    state.counters[kRxPackets].add(n);
    state.counters[kRxBytes].add(uint64_t{n} * frame_size_);
    return n;
  }

  uint32_t tx(uint32_t queue, wp_batch& batch) noexcept override {
    uint64_t packets = 0, bytes = 0;
    for (uint32_t i = 0; i < batch.count; i++) {
      if (batch.verdict[i] != WP_TX) continue;
      packets++;
      bytes += batch.length[i];
    }
    states_[queue].counters[kTxPackets].add(packets);
    states_[queue].counters[kTxBytes].add(bytes);
    return static_cast<uint32_t>(packets);
  }

  void release(uint32_t, wp_batch& batch) noexcept override { batch.count = 0; }

  Info info() const override {
    return {{"backend", std::string("null")},
            {"device", std::string()},
            {"driver", std::string("none")},
            {"mode", std::string("memory")},
            {"queues", int64_t{queues_}},
            {"wakeup", std::string("never: frames are always ready")},
            {"timestamp_source", std::string("poll loop")},
            {"clock", std::string(clock_.source())},
            {"frame_size", int64_t{frame_size_}},
            {"steering", steering().describe()},
            {"tuning", std::vector<std::string>{}}};
  }

  Capabilities capabilities() const noexcept override {
    return {.tx = true,
            .multi_queue = true,
            .everything = true,
            .ethernet_headers = true,
            .finite = limit_ != 0,
            .wire = false,
            .shareable = true,
            .max_frame = frame_size_};
  }

 private:
  struct alignas(64) Queue {
    Counter* counters = nullptr;
    std::unique_ptr<uint8_t[]> frame;
    uint64_t handed_out = 0;
    bool done = false;
  };
  uint32_t frame_size_;
  uint64_t limit_;
  std::vector<Queue> states_;
  std::atomic<uint32_t> done_queues_{0};
};

}  // namespace

const Backend kNullBackend{"null", "a prepared frame for ever: the price of the framework", "",
                           kOptions, [](const PortConfig& config) -> std::unique_ptr<Port> {
                             return std::make_unique<NullPort>(config);
                           }};

}  // namespace wp
