/* SPDX-License-Identifier: Apache-2.0
 *
 * SoupBinTCP packets: their types, what both sides write, and packets put
 * together again from a stream that TCP has cut anywhere.
 *
 * A packet: length u16 (big-endian; type and payload, not itself), type, payload.
 * Numbers are ASCII digits, padded with spaces on the left. Source: Nasdaq
 * SoupBinTCP specification 3.00.
 */
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>

#include "net/bytes.h"

namespace wp::feed {

enum class SoupType : uint8_t {
  kDebug = '+',          // both
  kLoginRequest = 'L',   // client
  kLoginAccepted = 'A',  // server
  kLoginRejected = 'J',
  kSequenced = 'S',
  kUnsequenced = 'U',  // both
  kServerHeartbeat = 'H',
  kClientHeartbeat = 'R',
  kEndOfSession = 'Z',   // server
  kLogoutRequest = 'O',  // client
};

inline constexpr size_t kSoupHeaderSize = 3;
inline constexpr size_t kSoupMaxPayload = 65'534;
inline constexpr size_t kSoupUsername = 6;
inline constexpr size_t kSoupPassword = 10;
inline constexpr size_t kSoupSession = 10;
inline constexpr size_t kSoupNumber = 20;
inline constexpr size_t kSoupLoginSize =
    kSoupHeaderSize + kSoupUsername + kSoupPassword + kSoupSession + kSoupNumber;
inline constexpr size_t kSoupAcceptedSize = kSoupHeaderSize + kSoupSession + kSoupNumber;
inline constexpr size_t kSoupRejectedSize = kSoupHeaderSize + 1;

/* Without the padding, on either side: senders differ in which they use. */
std::string_view soup_trimmed(std::string_view field);

/* A number in ASCII with spaces around it; false: anything else, or above 2^64 - 1. */
bool soup_number(const uint8_t* field, size_t n, uint64_t* out);

/* Each writes a whole packet and returns its length. */
size_t soup_encode_login(uint8_t* out, std::string_view username, std::string_view password,
                         std::string_view session, uint64_t sequence);
size_t soup_encode_accepted(uint8_t* out, std::string_view session, uint64_t next_sequence);
size_t soup_encode_rejected(uint8_t* out, char reason);
/* A header; `payload` bytes, at most kSoupMaxPayload, are to follow. */
inline size_t soup_encode_header(uint8_t* out, SoupType type, size_t payload) {
  net::store_be16(out, static_cast<uint16_t>(payload + 1));
  out[2] = static_cast<uint8_t>(type);
  return kSoupHeaderSize;
}

/* Whole packets out of a stream in pieces. Whole ones are not copied. */
class SoupFrames {
 public:
  SoupFrames() : held_(std::make_unique<Buffer>()) {}

  /* Calls f(const uint8_t* packet, size_t length) for each packet that is whole now: type and
   * payload, without the length; 0 is possible. */
  template <class F>
  void feed(const uint8_t* p, size_t n, F&& f) {
    while (have_ != 0 && n != 0) {
      const size_t want = have_ < 2 ? 2 : whole();
      const size_t taken = want - have_ < n ? want - have_ : n;
      std::memcpy(held_->data() + have_, p, taken);
      have_ += taken;
      p += taken;
      n -= taken;
      if (have_ >= 2 && have_ == whole()) {
        have_ = 0;
        f(held_->data() + 2, whole() - 2);
      }
    }
    while (n >= 2) {
      const size_t length = net::load_be16(p);
      if (n - 2 < length) break;
      f(p + 2, length);
      p += 2 + length;
      n -= 2 + length;
    }
    if (n != 0) std::memcpy(held_->data(), p, have_ = n);
  }

  size_t pending() const { return have_; }  // bytes of a packet that is not whole
  void clear() { have_ = 0; }

 private:
  using Buffer = std::array<uint8_t, 2 + 65'535>;
  size_t whole() const { return size_t{2} + net::load_be16(held_->data()); }

  std::unique_ptr<Buffer> held_;
  size_t have_ = 0;
};

}  // namespace wp::feed
