/* SPDX-License-Identifier: Apache-2.0
 *
 * What order books count, and what of it breaks a venue's rules.
 */
#pragma once

#include <cstdint>

namespace wp::feed {

/* records = applied + ignored + unknown_order + duplicate_order + full. */
struct BookCounters {
  uint64_t records = 0;
  uint64_t applied = 0;
  uint64_t ignored = 0;          // trades, breaks and all else that leaves books alone
  uint64_t unknown_order = 0;    // reduces, modifies or deletes an order or level that is not there
  uint64_t duplicate_order = 0;  // adds one that is
  uint64_t full = 0;             // max_orders rest
  uint64_t over_reduced = 0;     // of applied: took more than rested; the order is gone
  uint64_t unknown_level = 0;    // changes or deletes a numbered level whose price was never told,
                                 // or one that cannot be
  uint64_t negative_size = 0;    // a quantity below 0 was sent; taken for 0
  uint64_t events = 0;           // ends of events, by instrument
  uint64_t crossed = 0;          // of those: left bid above ask while the instrument trades
  uint64_t locked = 0;           // of those: left bid equal to ask while the instrument trades
  uint64_t bbo_changes = 0;
};

enum class BookCheck : uint8_t {
  kCrossed,
  kLocked,
  kUnknownOrder,
  kUnknownLevel,
  kOverReduced,
  kDuplicateOrder,
  kNegativeSize,
};

/* A record that broke a rule; `wirepath.OFFENCE` in Python. Of a book that is
 * crossed for many events only the first is an offence. */
struct BookOffence {
  uint64_t seq;
  int64_t event_time;
  uint64_t order_id;
  int64_t price;
  uint32_t qty;
  uint32_t instrument;
  uint16_t type;
  uint8_t action;
  BookCheck check;
  uint32_t reserved = 0;
};
static_assert(sizeof(BookOffence) == 48);

}  // namespace wp::feed
