/* SPDX-License-Identifier: Apache-2.0
 *
 * Fuzz target: SBE plans and messages. An even first byte: the rest is a recipe of
 * a schema (its length is the second byte) and messages, each with a length byte,
 * through SbeColumns and the naive decoder. An odd one: words of a plan, taken as
 * they are, and a message behind them.
 */
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include "core/error.h"
#include "feed/sbe_naive.h"

namespace {

void check(const char* difference) {
  if (difference == nullptr) return;
  std::fprintf(stderr, "columns and model differ in: %s\n", difference);
  std::abort();
}

void differential(std::span<const uint8_t> bytes, bool big_endian) {
  const size_t recipe = std::min<size_t>(bytes[0], bytes.size() - 1);
  std::span<const uint8_t> left = bytes.subspan(1, recipe);
  wp::feed::naive::SbeDifferential d(wp::feed::naive::TemplatesFrom(left).make(), big_endian);
  std::span<const uint8_t> messages = bytes.subspan(1 + recipe);
  while (!messages.empty()) {
    const size_t length = std::min<size_t>(messages[0], messages.size() - 1);
    check(d.on_message(messages.subspan(1, length)));
    messages = messages.subspan(1 + length);
  }
  check(d.rows());
}

void raw(std::span<const uint8_t> bytes) {
  const size_t count = std::min<size_t>(bytes[0], (bytes.size() - 1) / 4);
  std::vector<uint32_t> words(count);
  if (count != 0) std::memcpy(words.data(), bytes.data() + 1, 4 * count);
  try {
    auto plan = std::make_shared<const wp::feed::SbePlan>(words);
    wp::feed::SbeColumns columns(plan);
    // A copy of its own, so that the sanitizer sees a read behind the message.
    const std::span<const uint8_t> rest = bytes.subspan(1 + 4 * count);
    const std::vector<uint8_t> message(rest.begin(), rest.end());
    columns.append(message.data(), message.size(), {});
  } catch (const wp::Error&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const std::span<const uint8_t> rest(data + 1, size - 1);
  if ((data[0] & 1) != 0) {
    raw(rest);
  } else {
    differential(rest, (data[0] & 2) != 0);
  }
  return 0;
}
