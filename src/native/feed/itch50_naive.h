/* SPDX-License-Identifier: Apache-2.0
 *
 * For tests and fuzzing only: ITCH 5.0 to wp_record the slow and obvious way,
 * written from the specification's offsets and sharing nothing with the decoder.
 */
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "core/record.h"

namespace wp::feed::naive {

/* 'k' decoded, 'u' unknown type, 'm' malformed. */
struct ItchDecoded {
  char result;
  wp_record record;
};

inline size_t itch_length(char type) {
  switch (type) {
    case 'S':
    case 'W':
      return 12;
    case 'D':
    case 'B':
      return 19;
    case 'Y':
    case 'N':
      return 20;
    case 'h':
      return 21;
    case 'X':
      return 23;
    case 'H':
      return 25;
    case 'L':
      return 26;
    case 'K':
      return 28;
    case 'E':
      return 31;
    case 'V':
    case 'J':
    case 'U':
      return 35;
    case 'A':
    case 'C':
      return 36;
    case 'R':
      return 39;
    case 'F':
    case 'Q':
      return 40;
    case 'P':
      return 44;
    case 'O':
      return 48;
    case 'I':
      return 50;
  }
  return 0;
}

class ItchDecode {
 public:
  ItchDecode(const uint8_t* msg, size_t len, uint64_t seq, int64_t recv_time, int64_t midnight_ns,
             uint16_t channel, uint8_t flags)
      : msg_(msg) {
    std::memset(&out_, 0, sizeof out_);
    if (len == 0) {
      out_.result = 'm';
      return;
    }
    const char type = static_cast<char>(msg[0]);
    const size_t want = itch_length(type);
    out_.result = want == 0 ? 'u' : want != len ? 'm' : 'k';
    if (out_.result != 'k') return;
    wp_record& r = out_.record;
    r.seq = seq;
    r.recv_time = recv_time;
    r.event_time = midnight_ns + static_cast<int64_t>(number(5, 6));
    r.instrument = static_cast<uint32_t>(number(1, 2));
    r.type = msg[0];
    r.flags = flags;
    r.venue = WP_VENUE_NASDAQ;
    r.channel = channel;
    body(type);
  }

  const ItchDecoded& decoded() const { return out_; }

 private:
  uint64_t number(size_t at, size_t width) const {
    uint64_t value = 0;
    for (size_t i = 0; i < width; ++i) value = value * 256 + msg_[at + i];
    return value;
  }
  void order(size_t at) { out_.record.order_id = number(at, 8); }
  void match(size_t at) { out_.record.aux = number(at, 8); }
  void symbol(size_t at) { std::memcpy(&out_.record.aux, msg_ + at, 8); }
  void price4(size_t at) { out_.record.price = static_cast<int64_t>(number(at, 4)) * 100'000; }
  void price8(size_t at) {
    const __int128 nanos = static_cast<__int128>(number(at, 8)) * 10;
    out_.record.price = nanos > INT64_MAX ? INT64_MAX : static_cast<int64_t>(nanos);
    if (nanos > INT64_MAX) out_.record.flags |= WP_FLAG_SATURATED;
  }
  void qty(size_t at, size_t width) {
    const uint64_t value = number(at, width);
    out_.record.qty = value > UINT32_MAX ? UINT32_MAX : static_cast<uint32_t>(value);
    if (value > UINT32_MAX) out_.record.flags |= WP_FLAG_SATURATED;
  }
  void side(size_t at) {
    if (msg_[at] == 'B' || msg_[at] == 'S') out_.record.side = msg_[at];
  }
  void status(size_t state_at) { qty(state_at, 1); }

  void body(char type) {
    wp_record& r = out_.record;
    r.action = WP_ACTION_STATUS;
    switch (type) {
      case 'A':
      case 'F':
        r.action = WP_ACTION_ADD;
        order(11), side(19), qty(20, 4), symbol(24), price4(32);
        break;
      case 'C':
        if (msg_[31] == 'N') r.flags |= WP_FLAG_NON_PRINTABLE;
        price4(32);
        [[fallthrough]];
      case 'E':
        r.action = WP_ACTION_EXECUTE;
        order(11), qty(19, 4), match(23);
        break;
      case 'X':
        r.action = WP_ACTION_CANCEL;
        order(11), qty(19, 4);
        break;
      case 'D':
        r.action = WP_ACTION_DELETE;
        order(11);
        break;
      case 'U':
        r.action = WP_ACTION_MODIFY;
        match(11), order(19), qty(27, 4), price4(31);
        break;
      case 'P':
        r.action = WP_ACTION_TRADE;
        order(11), side(19), qty(20, 4), price4(32), match(36);
        break;
      case 'Q':
        r.action = WP_ACTION_TRADE;
        qty(11, 8), price4(27), match(31);
        break;
      case 'B':
        r.action = WP_ACTION_BREAK;
        match(11);
        break;
      case 'S':
      case 'W':
        status(11);
        break;
      case 'R':
        symbol(11), qty(21, 4);
        break;
      case 'H':
      case 'Y':
      case 'N':
        symbol(11), status(19);
        break;
      case 'L':
        symbol(15), status(25);
        break;
      case 'V':
        price8(11);
        break;
      case 'K':
        symbol(11), status(23), price4(24);
        break;
      case 'J':
        symbol(11), price4(19), qty(31, 4);
        break;
      case 'h':
        symbol(11), status(20);
        break;
      case 'I':
        qty(11, 8), side(27), symbol(28), price4(44);
        break;
      case 'O':
        symbol(11), status(19), price4(28);
        break;
    }
  }

  const uint8_t* msg_;
  ItchDecoded out_;
};

}  // namespace wp::feed::naive
