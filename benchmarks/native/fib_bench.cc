// SPDX-License-Identifier: Apache-2.0
// wirepath's forwarding table doing the work of the dpdk_fib yardstick (reference/ref_fib.h).
#include <memory>
#include <string>

#include "bench.h"
#include "reference/ref_fib.h"
#include "route/address.h"
#include "route/prefix_trie.h"

namespace {

using wp::route::Address4;
using wp::route::Address6;
using wp::route::PrefixTrie;

struct Table {
  virtual ~Table() = default;
  virtual void add(const ref_fib_row& row) = 0;
  virtual void remove(const ref_fib_row& row) = 0;
  virtual uint64_t lookup(const uint8_t* addresses, uint64_t n, uint64_t batch) = 0;
};

// The trie itself, as a data path has it that knows which it is.
template <class Address, class Entry>
struct Trie final : Table {
  PrefixTrie<Address, Entry> trie;

  explicit Trie(uint32_t groups) : trie(2'000'000, groups, true) {}
  void add(const ref_fib_row& row) override {
    trie.add(Address::load(row.address), row.length, row.next_hop);
  }
  void remove(const ref_fib_row& row) override {
    trie.remove(Address::load(row.address), row.length);
  }
  uint64_t lookup(const uint8_t* addresses, uint64_t n, uint64_t batch) override {
    uint64_t sum = 0;
    if (batch == 1) {
      for (uint64_t i = 0; i < n; i++)
        sum += trie.lookup(Address::load(addresses + i * Address::kBytes));
      return sum;
    }
    uint32_t hops[256];
    for (uint64_t i = 0; i < n; i += batch) {
      trie.lookup(addresses + i * Address::kBytes, batch, hops);
      for (uint64_t k = 0; k < batch; k++) sum += hops[k];
    }
    return sum;
  }
};

std::unique_ptr<Table> table;

}  // namespace

void ref_fib_add(const ref_fib_row* row) {
  table->add(*row);
}
void ref_fib_remove(const ref_fib_row* row) {
  table->remove(*row);
}
uint64_t ref_fib_lookup(const uint8_t* addresses, uint64_t n, uint64_t batch) {
  return table->lookup(addresses, n, batch);
}

int main(int argc, char** argv) {
  const wp::bench::Arguments args(argc, argv,
                                  {{"family", "4"},
                                   {"entry-bytes", "4"},
                                   {"table", ""},
                                   {"reader-cpu", "1"},
                                   {"writer-cpu", "0"}});
  const bool six = args.number("family") == 6, small = args.number("entry-bytes") == 2;
  ref_fib_row* rows;
  const uint64_t count = ref_fib_rows(args.text("table").c_str(), &rows);
  const uint64_t before = ref_fib_resident(), start = ref_fib_cpu_ns();
  if (six && small)
    table = std::make_unique<Trie<Address6, uint16_t>>(32768);
  else if (six)
    table = std::make_unique<Trie<Address6, uint32_t>>(131072);
  else if (small)
    table = std::make_unique<Trie<Address4, uint16_t>>(32768);
  else
    table = std::make_unique<Trie<Address4, uint32_t>>(32768);
  for (uint64_t i = 0; i < count; i++) table->add(rows[i]);
  const uint64_t built = ref_fib_cpu_ns() - start;
  std::printf("{\"rows\": %" PRIu64 ", \"build_seconds\": %.6f, \"bytes\": %" PRIu64 "}\n", count,
              static_cast<double>(built) / 1e9, ref_fib_resident() - before);
  std::fflush(stdout);
  return ref_fib_serve(rows, count, six ? 16 : 4, false, args.number("reader-cpu"),
                       args.number("writer-cpu"));
}
