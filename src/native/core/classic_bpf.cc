// SPDX-License-Identifier: Apache-2.0
#include "core/classic_bpf.h"

#include <array>

namespace wp {
namespace {

constexpr uint32_t kMemory = 16;  // words of scratch memory

// Fields of an instruction's code (bpf(4)). One type for all, as they are joined.
enum Code : uint16_t {
  kLd = 0,
  kLdx = 1,
  kSt = 2,
  kStx = 3,
  kAlu = 4,
  kJmp = 5,
  kRet = 6,
  kMisc = 7,
  kWord = 0x00,
  kHalf = 0x08,
  kByte = 0x10,
  kImm = 0x00,
  kAbs = 0x20,
  kInd = 0x40,
  kMem = 0x60,
  kLen = 0x80,
  kMsh = 0xa0,
  kX = 0x08,
  kA = 0x10,
  kAdd = 0x00,
  kSub = 0x10,
  kMul = 0x20,
  kDiv = 0x30,
  kOr = 0x40,
  kAnd = 0x50,
  kLsh = 0x60,
  kRsh = 0x70,
  kNeg = 0x80,
  kMod = 0x90,
  kXor = 0xa0,
  kJa = 0x00,
  kJeq = 0x10,
  kJgt = 0x20,
  kJge = 0x30,
  kJset = 0x40,
  kTax = 0x00,
  kTxa = 0x80,
};

constexpr uint16_t class_of(uint16_t code) noexcept {
  return code & 0x07;
}

bool known(uint16_t code) noexcept {
  switch (class_of(code)) {
    case kLd:
      switch (code & 0xf8) {
        case kAbs | kWord:
        case kAbs | kHalf:
        case kAbs | kByte:
        case kInd | kWord:
        case kInd | kHalf:
        case kInd | kByte:
        case kImm:
        case kMem:
        case kLen:
          return code <= 0xff;
        default:
          return false;
      }
    case kLdx:
      return code == (kLdx | kImm) || code == (kLdx | kMem) || code == (kLdx | kLen) ||
             code == (kLdx | kMsh | kByte);
    case kSt:
      return code == kSt;
    case kStx:
      return code == kStx;
    case kAlu:
      return code <= 0xff && (code & 0xf0) <= kXor &&
             ((code & 0xf0) != kNeg || code == (kAlu | kNeg));
    case kJmp:
      return code <= 0xff && (code & 0xf0) <= kJset && (code != (kJmp | kJa | kX));
    case kRet:
      return code == kRet || code == (kRet | kA) || code == (kRet | kX);
    default:
      return code == (kMisc | kTax) || code == (kMisc | kTxa);
  }
}

bool uses_memory(uint16_t code) noexcept {
  return code == kSt || code == kStx || code == (kLd | kMem) || code == (kLdx | kMem);
}

// A value of the frame, big-endian; false: it is not within it.
bool load(const uint8_t* data, uint32_t length, uint64_t at, uint16_t size, uint32_t& value) {
  const uint32_t bytes = size == kWord ? 4 : size == kHalf ? 2 : 1;
  if (at + bytes > length) return false;
  value = 0;
  for (uint32_t i = 0; i < bytes; i++) value = value << 8 | data[at + i];
  return true;
}

// False: a division by a register that holds 0.
bool calculate(uint16_t operation, uint32_t& a, uint32_t operand) noexcept {
  switch (operation) {
    case kAdd:
      a += operand;
      return true;
    case kSub:
      a -= operand;
      return true;
    case kMul:
      a *= operand;
      return true;
    case kDiv:
      if (operand == 0) return false;
      a /= operand;
      return true;
    case kMod:
      if (operand == 0) return false;
      a %= operand;
      return true;
    case kOr:
      a |= operand;
      return true;
    case kAnd:
      a &= operand;
      return true;
    case kXor:
      a ^= operand;
      return true;
    case kLsh:
      a = operand < 32 ? a << operand : 0;
      return true;
    case kRsh:
      a = operand < 32 ? a >> operand : 0;
      return true;
    default:  // kNeg
      a = 0u - a;
      return true;
  }
}

bool holds(uint16_t condition, uint32_t a, uint32_t operand) noexcept {
  switch (condition) {
    case kJeq:
      return a == operand;
    case kJgt:
      return a > operand;
    case kJge:
      return a >= operand;
    default:  // kJset
      return (a & operand) != 0;
  }
}

}  // namespace

std::string bpf_problem(std::span<const BpfInstruction> program) {
  if (program.empty() || program.size() > kMaxBpfInstructions)
    return "it has " + std::to_string(program.size()) + " instructions, not 1 to " +
           std::to_string(kMaxBpfInstructions);
  for (size_t i = 0; i < program.size(); i++) {
    const BpfInstruction& in = program[i];
    const std::string where = "instruction " + std::to_string(i) + " ";
    if (!known(in.code)) return where + "has the unknown code " + std::to_string(in.code);
    if (uses_memory(in.code) && in.k >= kMemory) return where + "is outside of its memory";
    const uint16_t operation = in.code & 0xf0;
    if (class_of(in.code) == kAlu && !(in.code & kX)) {
      if ((operation == kDiv || operation == kMod) && in.k == 0) return where + "divides by 0";
      if ((operation == kLsh || operation == kRsh) && in.k > 31) return where + "shifts too far";
    }
    if (class_of(in.code) != kJmp) continue;
    const uint64_t left = program.size() - i - 1;
    const uint64_t farthest = in.code == (kJmp | kJa)        ? in.k
                              : in.jump_true > in.jump_false ? in.jump_true
                                                             : in.jump_false;
    if (farthest >= left) return where + "jumps out of the program";
  }
  if (class_of(program.back().code) != kRet) return "it does not end";
  return "";
}

uint32_t run_bpf(std::span<const BpfInstruction> program, const uint8_t* data, uint32_t length,
                 uint32_t original) noexcept {
  uint32_t a = 0, x = 0;
  std::array<uint32_t, kMemory> memory{};
  for (size_t i = 0; i < program.size(); i++) {
    const auto [code, jump_true, jump_false, k] = program[i];
    switch (class_of(code)) {
      case kLd:
        switch (code & 0xe0) {
          case kAbs:
            if (!load(data, length, k, code & 0x18, a)) return 0;
            break;
          case kInd:
            if (!load(data, length, uint64_t{x} + k, code & 0x18, a)) return 0;
            break;
          case kMem:
            a = memory[k];
            break;
          default:
            a = (code & 0xe0) == kLen ? original : k;
        }
        break;
      case kLdx:
        switch (code & 0xe0) {
          case kMsh:
            if (!load(data, length, k, kByte, x)) return 0;
            x = (x & 0xf) << 2;
            break;
          case kMem:
            x = memory[k];
            break;
          default:
            x = (code & 0xe0) == kLen ? original : k;
        }
        break;
      case kSt:
        memory[k] = a;
        break;
      case kStx:
        memory[k] = x;
        break;
      case kAlu:
        if (!calculate(code & 0xf0, a, code & kX ? x : k)) return 0;
        break;
      case kJmp:
        if (code == (kJmp | kJa))
          i += k;
        else
          i += holds(code & 0xf0, a, code & kX ? x : k) ? jump_true : jump_false;
        break;
      case kRet:
        return code & kA ? a : code & kX ? x : k;
      default:
        if (code == (kMisc | kTax))
          x = a;
        else
          a = x;
    }
  }
  return 0;
}

}  // namespace wp
