// SPDX-License-Identifier: Apache-2.0
// wirepath's Ring doing the work of the ring_spsc yardstick: the producer writes all 64 bytes of
// every record in place, the consumer sums one u64 of each. With --name the ring is in shared
// memory and only the producer runs: somebody else pops.
#include <cinttypes>
#include <cstring>
#include <string>
#include <thread>

#include "bench.h"
#include "core/pause.h"
#include "core/ring.h"

namespace {

using wp::Ring;

// The words go straight into the slot: built elsewhere and copied, they would wait for each other.
void fill(Ring::Record* slots, uint64_t batch, uint64_t first) {
  for (uint64_t i = 0; i < batch; i++) {
    auto* bytes = reinterpret_cast<uint8_t*>(&slots[i]);
    for (uint64_t w = 0; w < 8; w++) {
      const uint64_t word = first + i + w;
      std::memcpy(bytes + 8 * w, &word, 8);
    }
  }
}

// The yardstick's policy: whole batches, spinning while there is no room; yielding matters only
// when both threads share one cpu.
void wait_a_little(uint64_t& spins) {
  wp::cpu_pause();
  if ((++spins & 0xffff) == 0) sched_yield();
}

uint64_t produce(Ring& ring, uint64_t records, uint64_t batch, uint64_t cpu) {
  wp::bench::pin(cpu);
  const uint64_t start = wp::bench::now_ns();
  uint64_t spins = 0;
  for (uint64_t done = 0; done < records;) {
    Ring::Record* slots;
    if (ring.reserve(batch, &slots) < batch) {
      if (ring.closed()) break;
      wait_a_little(spins);
      continue;
    }
    fill(slots, batch, done);
    ring.commit(batch);
    done += batch;
  }
  return start;
}

uint64_t consume(Ring& ring, uint64_t records, uint64_t batch, uint64_t cpu) {
  wp::bench::pin(cpu);
  uint64_t sum = 0, spins = 0;
  for (uint64_t done = 0; done < records;) {
    const Ring::Record* slots;
    if (ring.peek(batch, &slots) < batch) {
      wait_a_little(spins);
      continue;
    }
    for (uint64_t i = 0; i < batch; i++) sum += slots[i].seq;
    ring.consume(batch);
    done += batch;
  }
  return sum;
}

}  // namespace

int main(int argc, char** argv) {
  const wp::bench::Arguments args(argc, argv,
                                  {{"producer-cpu", "0"},
                                   {"consumer-cpu", "1"},
                                   {"capacity", "4096"},
                                   {"batch", "64"},
                                   {"records", "50000000"},
                                   {"name", ""}});
  const uint64_t batch = args.number("batch"), producer_cpu = args.number("producer-cpu");
  const uint64_t records = args.number("records") / batch * batch;
  if (!args.text("name").empty()) {
    Ring ring = Ring::attach(args.text("name"));
    produce(ring, records, batch, producer_cpu);
    ring.close();
    return 0;
  }
  Ring ring(args.number("capacity"), wp::FullPolicy::kBlock, "");
  uint64_t start = 0;
  std::thread producer([&] { start = produce(ring, records, batch, producer_cpu); });
  const uint64_t sum = consume(ring, records, batch, args.number("consumer-cpu"));
  const uint64_t end = wp::bench::now_ns();
  producer.join();
  const auto expected =
      static_cast<uint64_t>(static_cast<unsigned __int128>(records) * (records - 1) / 2);
  if (sum != expected) {
    std::fprintf(stderr, "sum %" PRIu64 " is not %" PRIu64 ": records lost or torn\n", sum,
                 expected);
    return 1;
  }
  std::printf("{\"records\": %" PRIu64 ", \"rate\": %.1f}\n", records,
              static_cast<double>(records) * 1e9 / static_cast<double>(end - start));
  return 0;
}
