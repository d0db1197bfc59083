// SPDX-License-Identifier: Apache-2.0
// Writes ITCH 5.0 messages by field name; offsets and widths come from itch50_tables.h at
// compile time, so a misspelt field does not compile.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "feed/itch50_tables.h"

namespace wp::feed {

namespace itch50_detail {

template <size_t kSize>
struct FieldName {
  char text[kSize]{};
  constexpr FieldName(const char (&name)[kSize]) { std::copy_n(name, kSize, text); }
  constexpr std::string_view view() const { return {text, kSize - 1}; }
};

constexpr const ItchMessage& message_of(char type) {
  for (const ItchMessage& m : kItch50Messages) {
    if (m.type == type) return m;
  }
  throw "not an ITCH 5.0 type";
}

constexpr ItchField written_field(char type, std::string_view name) {
  for (const ItchField& f : message_of(type).fields) {
    if (f.name == name) return f;
  }
  throw "the message has no field of that name";
}

}  // namespace itch50_detail

// Up to eight characters as the number that set() takes for an alpha field, space padded.
constexpr uint64_t itch_alpha(std::string_view text) noexcept {
  uint64_t bytes = 0x2020202020202020;
  for (size_t i = 0; i < text.size() && i < 8; i++) {
    bytes &= ~(uint64_t{0xff} << (8 * i));
    bytes |= uint64_t{static_cast<uint8_t>(text[i])} << (8 * i);
  }
  return bytes;
}

template <char kType>
class ItchWriter {
 public:
  static constexpr size_t kLength = itch50_detail::message_of(kType).length;

  // `out` holds kLength bytes. timestamp: ns since midnight, New York. Fields that are not set
  // afterwards keep what stood there.
  ItchWriter(uint8_t* out, uint16_t locate, uint16_t tracking, uint64_t timestamp) noexcept
      : out_(out) {
    out[0] = static_cast<uint8_t>(kType);
    store<2>(out + 1, locate);
    store<2>(out + 3, tracking);
    store<6>(out + 5, timestamp);
  }

  // Numbers as such, in the field's unit; alpha fields as itch_alpha(), or one character.
  template <itch50_detail::FieldName kName>
  ItchWriter& set(uint64_t value) noexcept {
    constexpr ItchField kField = itch50_detail::written_field(kType, kName.view());
    static_assert(kField.width <= 8);
    if constexpr (kField.kind == FieldKind::kAlpha) {
      std::memcpy(out_ + kField.offset, &value, kField.width);
    } else {
      store<kField.width>(out_ + kField.offset, value);
    }
    return *this;
  }

  constexpr size_t size() const noexcept { return kLength; }

 private:
  template <size_t kWidth>
  static void store(uint8_t* at, uint64_t value) noexcept {
    value = __builtin_bswap64(value) >> (8 * (8 - kWidth));
    std::memcpy(at, &value, kWidth);
  }

  uint8_t* out_;
};

}  // namespace wp::feed
