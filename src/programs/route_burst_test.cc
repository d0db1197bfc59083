// SPDX-License-Identifier: Apache-2.0
// The forwarding program over bursts, where it decides plain packets together, against the same
// program where it takes every packet by itself: with a map too small for the former.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "core/batch_storage.h"
#include "net/checksum.h"
#include "programs/native_instance.h"
extern "C" {
#include "programs/route_shared.h"
}

namespace wp::programs {
namespace {

constexpr uint32_t kHops = 16;
constexpr uint8_t kOurs[6] = {2, 0, 0, 0, 0, 0};

struct Hop {
  uint32_t sequence = 0;
  uint8_t kind = ROUTE_NONE;
  uint16_t vlan = 0;
  uint32_t mtu = 0;
  uint16_t port = 0, interface = 0;
};

struct Router {
  explicit Router(bool together, uint16_t flags) {
    const route_config config{.seed = 77, .port = 0, .kernel_fib = 0};
    for (const Builtin& each : builtin_programs())
      if (std::string(each.name) == "route")
        program = std::make_unique<NativeInstance>(
            each.code(),
            InstanceConfig{
                .entries = {{"root4", 65536},
                            {"groups4", 4},
                            {"buckets", kHops},
                            {"hops", kHops},
                            {"reach", kHops},
                            {"hop_counters", together ? kHops : kHops - 1}},
                .config = std::string(reinterpret_cast<const char*>(&config), sizeof config)});
    for (uint32_t port = 1; port <= 2; port++) {
      route_interface interface { .index = port, .mac = {}, .flags = flags };
      std::copy_n(kOurs, 6, interface.mac);
      set("interfaces", port, interface);
      set("ports", port, port);
    }
    hop(1, {.kind = ROUTE_FORWARD, .mtu = 1500, .port = 1, .interface = 1});
    hop(2, {.kind = ROUTE_FORWARD, .port = 2, .interface = 2});
    hop(3, {.kind = ROUTE_FORWARD, .vlan = 5, .port = 2, .interface = 3});
    hop(4, {.kind = ROUTE_FORWARD, .mtu = 40, .port = 1, .interface = 1});
    hop(5, {.kind = ROUTE_HOST});
    hop(6, {.kind = ROUTE_BLACKHOLE});
    hop(7, {.kind = ROUTE_FORWARD});                             // no port of ours
    hop(8, {.kind = ROUTE_FORWARD, .port = 9, .interface = 9});  // nor this one
    hop(9, {.sequence = 1, .kind = ROUTE_FORWARD, .port = 1});   // written just now
    hop(10, {.kind = ROUTE_FORWARD, .port = 300, .interface = 2});
    hop(11, {.kind = ROUTE_FORWARD, .port = 2, .interface = 300});
    for (uint32_t i = 1; i <= 13; i++) route(i << 24 | 0x10203, i);  // 12 and 13: no next hop
    for (uint32_t i = 0; i < 256; i++) {
      root()[20u << 16 | i] = WP_FIB_GROUP_FLAG32 | 1;
      at<route_fib_block>("groups4", 1)->entry[i] = i % 3;  // 0: the default
    }
    at<wp_fib_state>("state4", 0)->default_next_hop = 2;
    route(21u << 24, kHops + 7);  // a group that the map has no room for
  }

  template <class T>
  T* at(const char* map, uint32_t index) {
    wp_map* raw = program->map(map).raw();
    return reinterpret_cast<T*>(raw->memory + size_t{raw->value_stride} * index);
  }
  template <class T>
  void set(const char* map, uint32_t index, const T& value) {
    std::memcpy(at<T>(map, index), &value, sizeof value);
  }
  uint32_t* root() { return at<uint32_t>("root4", 0); }
  void route(uint32_t address, uint32_t group) { root()[address >> 8] = group; }
  void hop(uint32_t number, const Hop& hop) {
    route_next_hop value{};
    value.sequence = hop.sequence;
    value.kind = hop.kind;
    value.vlan = hop.vlan;
    value.mtu = hop.mtu;
    value.port = hop.port;
    value.interface = hop.interface;
    for (uint8_t i = 0; i < 6; i++) {
      value.destination[i] = static_cast<uint8_t>(16 * number + i);
      value.source[i] = static_cast<uint8_t>(16 * number + 6 + i);
    }
    set("hops", number, value);
    route_buckets buckets;
    for (uint32_t i = 0; i < ROUTE_BUCKETS; i++)
      buckets.next_hop[i] = static_cast<uint16_t>(i % 5 ? number : 1 + i % 2);
    set("buckets", number, buckets);
    route_reach reach{};
    reach.interfaces[0] = 1ull << value.interface % 64;
    set("reach", number, reach);
  }
  std::string counts(const char* map) {
    wp_map* raw = program->map(map).raw();
    const size_t entries = std::min(raw->max_entries, raw->max_entries == kHops ? kHops - 1 : 256u);
    return {reinterpret_cast<const char*>(raw->memory), entries * raw->value_stride};
  }

  std::unique_ptr<NativeInstance> program;
};

struct Given {
  std::vector<uint8_t> bytes;
  uint32_t changes = 0;
};

uint32_t below(std::mt19937& draw, uint32_t n) {
  return static_cast<uint32_t>(draw() % n);
}

Given frame(std::mt19937& draw) {
  Given out;
  const uint32_t payload = below(draw, 8) ? 26 : below(draw, 40);
  std::vector<uint8_t>& f = out.bytes;
  f.assign(34 + payload, 0);
  std::copy_n(kOurs, 6, f.data());
  const uint32_t length = 20 + payload;
  const uint8_t head[] = {8, 0,  0x45, 0, 0, static_cast<uint8_t>(length), 0, 0, 0x40,
                          0, 64, 17,   0, 0};
  std::copy_n(head, sizeof head, f.data() + 12);
  const uint32_t odd[] = {0, 127, 169, 170, 223, 224, 255};
  const auto address = [&] {
    const uint32_t first = below(draw, 12) ? 1 + below(draw, 22) : odd[below(draw, 7)];
    return first << 24 | (first == 169 ? below(draw, 2) * 0xfe0000 : 0x10200) | below(draw, 512);
  };
  for (const size_t where : {26u, 30u}) {
    const uint32_t a = __builtin_bswap32(address());
    std::memcpy(&f[where], &a, 4);
  }
  for (size_t i = 34; i < f.size(); i++) f[i] = static_cast<uint8_t>(draw());
  const uint8_t protocols[] = {6, 17, 132, 1, 47};
  if (below(draw, 3) == 0) f[23] = protocols[below(draw, 5)];
  if (below(draw, 8) == 0) f[22] = static_cast<uint8_t>(below(draw, 3));
  if (below(draw, 16) == 0) f[20] = static_cast<uint8_t>(draw());           // fragment
  if (below(draw, 16) == 0) f[17] = static_cast<uint8_t>(below(draw, 70));  // length
  const uint16_t sum = net::checksum(&f[14], 20);
  f[24] = static_cast<uint8_t>(sum >> 8);
  f[25] = static_cast<uint8_t>(sum);
  if (below(draw, 6) == 0)
    f[below(draw, 38) % f.size()] ^= static_cast<uint8_t>(1 << below(draw, 8));
  if (below(draw, 16) == 0) f.resize(14 + below(draw, static_cast<uint32_t>(f.size()) - 13));
  if (below(draw, 12) == 0) {
    const uint8_t tag[] = {0x81, 0, 0, static_cast<uint8_t>(below(draw, 2))};
    f.insert(f.begin() + 12, tag, tag + 4);
  }
  return out;
}

// In memory of their own, so that a sanitizer sees who looks past an end.
struct Burst {
  explicit Burst(const std::vector<Given>& frames) : batch(static_cast<uint32_t>(frames.size())) {
    for (const Given& each : frames) {
      auto& copy = memory.emplace_back(new uint8_t[each.bytes.size()]);
      std::copy(each.bytes.begin(), each.bytes.end(), copy.get());
      const uint32_t i = batch->count++;
      batch->data[i] = copy.get();
      batch->length[i] = static_cast<uint32_t>(each.bytes.size());
      batch->target[i] = 0;
    }
  }
  std::string bytes(uint32_t i) {
    return {reinterpret_cast<const char*>(batch->data[i]), batch->length[i]};
  }
  BatchStorage batch;
  std::vector<std::unique_ptr<uint8_t[]>> memory;
};

void same_of_both(uint16_t flags, bool in_place, uint32_t seed) {
  std::mt19937 draw(seed);
  Router together(true, flags), alone(false, flags);
  const uint32_t slot = together.program->take_slot(160);
  REQUIRE(alone.program->take_slot(160) == slot);
  uint32_t forwarded = 0, others = 0;
  for (int round = 0; round < 60; round++) {
    std::vector<Given> frames(1 + below(draw, 160));
    for (Given& each : frames) each = frame(draw);
    Burst a(frames), b(frames);
    a.batch->port = b.batch->port = static_cast<uint16_t>(below(draw, 3));  // 2: no interface
    together.program->run(*a.batch, slot, in_place);
    alone.program->run(*b.batch, slot, in_place);
    for (uint32_t i = 0; i < frames.size(); i++) {
      REQUIRE(a.batch->verdict[i] == b.batch->verdict[i]);
      REQUIRE(a.batch->target[i] == b.batch->target[i]);
      REQUIRE(a.bytes(i) == b.bytes(i));
      (a.batch->verdict[i] == WP_REDIRECT ? forwarded : others)++;
    }
    for (const char* map : {"counters", "if_counters", "hop_counters"})
      REQUIRE(together.counts(map) == alone.counts(map));
  }
  CHECK(others > 100);
  if (flags == ROUTE_UP) CHECK(forwarded > 1000);
}

TEST_CASE("the forwarding program does the same with a burst as with each of its packets") {
  for (const bool in_place : {true, false}) {
    CAPTURE(in_place);
    same_of_both(ROUTE_UP, in_place, 1);
    same_of_both(ROUTE_UP | ROUTE_RPF_STRICT4, in_place, 2);
    same_of_both(ROUTE_UP | ROUTE_RPF_LOOSE4, in_place, 3);
    same_of_both(ROUTE_UP | ROUTE_NO_IP4, in_place, 4);
    same_of_both(0, in_place, 5);
  }
}

}  // namespace
}  // namespace wp::programs
