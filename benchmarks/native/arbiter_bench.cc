// SPDX-License-Identifier: Apache-2.0
// wirepath's arbiter doing the work of the dedup_lines yardstick: MoldUDP64 packets of two lines in
// memory, interleaved, to one sequence of messages. Each packet comes on line A, then on line B,
// which is `skew` packets behind; one in `lose` packets is missing on a line, never on both.
#include <algorithm>
#include <cinttypes>
#include <vector>

#include "bench.h"
#include "feed/arbiter.h"
#include "feed/mold_framer.h"
#include "feed/mold_udp64_packet.h"
#include "net/bytes.h"

namespace {

constexpr uint64_t kWindow = 256;
constexpr size_t kRoom = 1472;

struct Sink : wp::feed::ArbiterSink {
  uint64_t messages = 0;
  uint64_t sum = 0;
  void message(const wp::feed::MessageInfo& info, const uint8_t* data, size_t length) {
    ++messages;
    sum += info.seq * data[0] + length;
  }
};

}  // namespace

int main(int argc, char** argv) {
  const wp::bench::Arguments args(argc, argv,
                                  {{"messages", "2000000"},
                                   {"per-packet", "4"},
                                   {"bytes", "36"},
                                   {"skew", "3"},
                                   {"lose", "0"},
                                   {"mode", "order"},
                                   {"repeat", "5"},
                                   {"cpu", "0"}});
  wp::bench::pin(args.number("cpu"));
  const uint64_t per_packet = args.number("per-packet");
  const uint64_t packets = args.number("messages") / per_packet;
  const uint64_t skew = args.number("skew");
  const uint64_t lose = args.number("lose");
  if (skew >= kWindow) {
    std::fprintf(stderr, "--skew: must be below %" PRIu64 "\n", kWindow);
    return 2;
  }
  // Packets lie in a ring as received frames do, and only their numbers are new: a day's worth of
  // memory would measure the memory.
  wp::feed::MoldPacketizer packetizer("BENCHMARK", 1, kRoom);
  std::vector<uint8_t> ring(kWindow * kRoom);
  const std::vector<uint8_t> message(args.number("bytes"), 'A');
  size_t size = 0;
  for (uint64_t i = 0; i < kWindow; ++i) {
    packetizer.begin(&ring[i * kRoom]);
    for (uint64_t k = 0; k < per_packet; ++k) {
      if (!packetizer.append(message.data(), static_cast<uint16_t>(message.size()))) {
        std::fprintf(stderr, "--per-packet and --bytes: more than a packet holds\n");
        return 2;
      }
    }
    size = packetizer.finish();
  }
  std::vector<double> costs;
  uint64_t messages = 0, sum = 0;
  for (uint64_t round = 0; round < args.number("repeat") + 1; ++round) {
    wp::feed::ArbiterOptions options;
    options.in_order = args.text("mode") == "order";
    options.next_sequence = 1;
    wp::feed::Arbiter<wp::feed::MoldFramer> arbiter(options);
    Sink sink;
    int64_t now = 1;
    uint64_t lost_a = lose / 2, lost_b = lose - 1;  // counted down: no division
    const uint64_t start = wp::bench::now_ns();
    for (uint64_t i = 0; i < packets + skew; ++i) {
      if (i < packets) {
        uint8_t* const a = &ring[i % kWindow * kRoom];
        wp::net::store_be64(a + 10, 1 + i * per_packet);
        if (lose == 0 || lost_a-- != 0) {
          arbiter.on_packet(0, a, size, now += 50, sink);
        } else {
          lost_a = lose - 1;
        }
      }
      if (i >= skew) {
        if (lose == 0 || lost_b-- != 0) {
          arbiter.on_packet(1, &ring[(i - skew) % kWindow * kRoom], size, now += 50, sink);
        } else {
          lost_b = lose - 1;
        }
      }
    }
    const uint64_t elapsed = wp::bench::now_ns() - start;
    messages = sink.messages;
    sum = sink.sum;
    // The first round warms the caches.
    if (round != 0) costs.push_back(static_cast<double>(elapsed) / static_cast<double>(messages));
  }
  std::ranges::sort(costs);
  const double cost = costs[costs.size() / 2];
  std::printf("{\"messages\": %" PRIu64 ", \"sum\": %" PRIu64
              ", \"rate\": %.1f, \"ns_per_message\": %.3f, \"min\": %.3f, \"max\": %.3f}\n",
              messages, sum, 1e9 / cost, cost, costs.front(), costs.back());
  return 0;
}
