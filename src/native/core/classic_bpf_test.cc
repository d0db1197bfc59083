// SPDX-License-Identifier: Apache-2.0
#include "core/classic_bpf.h"

#include <doctest/doctest.h>

#include <array>
#include <random>
#include <vector>

using wp::BpfInstruction;

namespace {

// `tcpdump -dd udp port 53` with IPv4 only: as libpcap compiles it for Ethernet.
const std::vector<BpfInstruction> kDns = {
    {0x28, 0, 0, 12}, {0x15, 0, 10, 0x800}, {0x30, 0, 0, 23}, {0x15, 0, 8, 17},
    {0x28, 0, 0, 20}, {0x45, 6, 0, 0x1fff}, {0xb1, 0, 0, 14}, {0x48, 0, 0, 14},
    {0x15, 2, 0, 53}, {0x48, 0, 0, 16},     {0x15, 0, 1, 53}, {0x06, 0, 0, 262144},
    {0x06, 0, 0, 0},
};

std::array<uint8_t, 60> frame(uint8_t protocol, uint8_t words, uint16_t source, uint16_t dest) {
  std::array<uint8_t, 60> out{};
  out[12] = 8;
  out[14] = static_cast<uint8_t>(0x40 | words);
  out[23] = protocol;
  const size_t at = 14 + 4u * words;
  out[at] = static_cast<uint8_t>(source >> 8);
  out[at + 1] = static_cast<uint8_t>(source);
  out[at + 2] = static_cast<uint8_t>(dest >> 8);
  out[at + 3] = static_cast<uint8_t>(dest);
  return out;
}

uint32_t run(const std::vector<BpfInstruction>& program, const std::array<uint8_t, 60>& f,
             uint32_t length = 60) {
  return wp::run_bpf(program, f.data(), length, length);
}

}  // namespace

TEST_CASE("classic BPF: a filter finds its frames, also behind IP options") {
  CHECK(wp::bpf_problem(kDns).empty());
  CHECK(run(kDns, frame(17, 5, 1000, 53)) == 262144);
  CHECK(run(kDns, frame(17, 7, 53, 1000)) == 262144);
  CHECK(run(kDns, frame(17, 5, 1000, 54)) == 0);
  CHECK(run(kDns, frame(6, 5, 1000, 53)) == 0);
  CHECK(run(kDns, frame(17, 5, 1000, 53), 37) == 0);  // cut within the port
}

TEST_CASE("classic BPF: arithmetic, memory and registers") {
  const auto result = [](std::vector<BpfInstruction> program) {
    REQUIRE(wp::bpf_problem(program) == "");
    const uint8_t byte = 0x45;
    return wp::run_bpf(program, &byte, 1, 99);
  };
  CHECK(result({{0x80, 0, 0, 0}, {0x16, 0, 0, 0}}) == 99);                       // ld len; ret A
  CHECK(result({{0xb1, 0, 0, 0}, {0x87, 0, 0, 0}, {0x16, 0, 0, 0}}) == 20);      // ldx 4*([0]&0xf)
  CHECK(result({{0x00, 0, 0, 7}, {0x84, 0, 0, 0}, {0x16, 0, 0, 0}}) == 0u - 7);  // neg
  CHECK(result({{0x00, 0, 0, 7}, {0x02, 0, 0, 15}, {0x60, 0, 0, 15}, {0x16, 0, 0, 0}}) == 7);
  CHECK(result({{0x00, 0, 0, 7}, {0x94, 0, 0, 4}, {0x16, 0, 0, 0}}) == 3);  // mod
  CHECK(result({{0x00, 0, 0, 7}, {0x3c, 0, 0, 0}, {0x16, 0, 0, 0}}) == 0);  // by X = 0: no
  CHECK(result({{0x01, 0, 0, 40}, {0x00, 0, 0, 7}, {0x6c, 0, 0, 0}, {0x16, 0, 0, 0}}) == 0);
}

TEST_CASE("classic BPF: what could run away is refused") {
  const auto refused = [](std::vector<BpfInstruction> program) {
    return !wp::bpf_problem(program).empty();
  };
  CHECK(refused({}));
  CHECK(refused({{0x00, 0, 0, 1}}));                            // does not end
  CHECK(refused({{0x05, 0, 0, 1}, {0x06, 0, 0, 0}}));           // jumps behind the end
  CHECK(refused({{0x05, 0, 0, 0xffffffff}, {0x06, 0, 0, 0}}));  // or back
  CHECK(refused({{0x15, 1, 0, 0}, {0x06, 0, 0, 0}}));
  CHECK(refused({{0x60, 0, 0, 16}, {0x06, 0, 0, 0}}));   // memory
  CHECK(refused({{0x34, 0, 0, 0}, {0x06, 0, 0, 0}}));    // divides by 0
  CHECK(refused({{0xffff, 0, 0, 0}, {0x06, 0, 0, 0}}));  // unknown
  CHECK(refused(std::vector<BpfInstruction>(wp::kMaxBpfInstructions + 1, {0x06, 0, 0, 0})));
}

TEST_CASE("classic BPF: no checked program reads outside of its frame") {
  std::mt19937 random(7);
  uint32_t usable = 0;
  for (int i = 0; i < 200'000; i++) {
    std::vector<BpfInstruction> program(1 + random() % 12);
    for (auto& in : program)
      in = {static_cast<uint16_t>(random() % 0xc0), static_cast<uint8_t>(random() % 8),
            static_cast<uint8_t>(random() % 8),
            static_cast<uint32_t>(random() % 3 ? random() % 32 : random())};
    program.back() = {0x16, 0, 0, 0};
    if (!wp::bpf_problem(program).empty()) continue;
    usable++;
    const std::vector<uint8_t> exact(random() % 40, 0xa5);  // read past: the sanitizer sees it
    wp::run_bpf(program, exact.data(), static_cast<uint32_t>(exact.size()), 40);
  }
  CHECK(usable > 1000);
}
