/* SPDX-License-Identifier: Apache-2.0
 *
 * Fuzz target: the bytes as a classic BPF program and a frame. A program that passes
 * the check must end, within its frame and memory, and say the same twice.
 */
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "core/classic_bpf.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const size_t instructions = data[0] % 64, slack = data[1];
  data += 2, size -= 2;
  std::vector<wp::BpfInstruction> program(std::min(instructions, size / 8));
  if (!program.empty()) std::memcpy(program.data(), data, program.size() * 8);
  data += program.size() * 8, size -= program.size() * 8;
  program.push_back({0x16, 0, 0, 0}); /* ret A: what is computed is seen */
  if (!wp::bpf_problem(program).empty()) return 0;
  const std::vector<uint8_t> frame(data, data + size); /* exact: a read past it is found */
  const auto length = static_cast<uint32_t>(size);
  const uint32_t original = length + static_cast<uint32_t>(slack);
  const uint32_t said = wp::run_bpf(program, frame.data(), length, original);
  if (wp::run_bpf(program, frame.data(), length, original) != said) std::abort();
  return 0;
}
