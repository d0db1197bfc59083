// SPDX-License-Identifier: Apache-2.0
// Classic BPF, the machine that tcpdump's filters are compiled for: checked once, then run over
// frames (McCanne and Jacobson 1993; the instruction set of bpf(4)). Loads beyond the frame end
// the program with "no", as there.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace wp {

struct BpfInstruction {  // as the kernel's sock_filter and libpcap's bpf_insn
  uint16_t code;
  uint8_t jump_true;
  uint8_t jump_false;
  uint32_t k;
};
static_assert(sizeof(BpfInstruction) == 8);

constexpr size_t kMaxBpfInstructions = 4096;

// What is wrong with a program, or "": it ends, stays within itself and within its memory.
std::string bpf_problem(std::span<const BpfInstruction> program);

// What a checked program says of a frame: 0 = not wanted. `length`: bytes at `data`, `original`:
// bytes that the frame has, which is what `len` and `greater` look at.
uint32_t run_bpf(std::span<const BpfInstruction> program, const uint8_t* data, uint32_t length,
                 uint32_t original) noexcept;

}  // namespace wp
