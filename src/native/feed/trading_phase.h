/* SPDX-License-Identifier: Apache-2.0
 *
 * What the venues' trading states mean to a book: whether bid and ask may meet.
 */
#pragma once

#include <cstdint>

#include "core/record.h"

namespace wp::feed {

enum class Phase : uint8_t {
  kUnknown = 0,  // the venue has not said
  kTrading = 1,
  kAuction = 2,  // orders are taken and not matched: pre-open, quotation only, crosses
  kHalted = 3,
  kClosed = 4,
};

/* Of ITCH `H`, IEX `H`, PITCH 0x31: a letter. */
inline Phase phase_of_letter(wp_venue venue, uint32_t state) {
  if (state == 'T') return Phase::kTrading;
  if (state == 'H') return Phase::kHalted;
  switch (venue) {
    case WP_VENUE_NASDAQ:
      if (state == 'Q') return Phase::kAuction;  // quotation only
      if (state == 'P') return Phase::kHalted;   // paused at all markets
      break;
    case WP_VENUE_IEX:
      if (state == 'O') return Phase::kAuction;  // order acceptance
      if (state == 'P') return Phase::kAuction;  // paused, order acceptance
      break;
    case WP_VENUE_CBOE:
      if (state == 'A') return Phase::kAuction;  // accepting orders for queuing
      if (state == 'Q') return Phase::kAuction;  // quotation only
      if (state == 'R') return Phase::kAuction;  // opening rotation
      if (state == 'S') return Phase::kHalted;   // suspended at this exchange
      break;
    default:
      break;
  }
  return Phase::kUnknown;
}

inline constexpr uint32_t kCmeNoChange = 103;

/* Of SecurityTradingStatus (tag 326). */
inline Phase phase_of_cme(uint32_t state) {
  switch (state) {
    case 17:
      return Phase::kTrading;
    case 2:
      return Phase::kHalted;
    case 15:  // new price indication
    case 21:  // pre-open
    case 24:  // pre-cross
    case 25:  // cross
      return Phase::kAuction;
    case 4:   // close
    case 18:  // not available for trading
    case 26:  // post-close
      return Phase::kClosed;
    default:
      return Phase::kUnknown;
  }
}

/* What a status record says of trading; `tells` false: nothing. */
struct PhaseChange {
  bool tells = false;
  bool operational = false;  // the venue's own halt, beside the state
  Phase phase = Phase::kUnknown;
};

inline PhaseChange phase_change(const wp_record& r) {
  const auto venue = static_cast<wp_venue>(r.venue);
  switch (venue) {
    case WP_VENUE_NASDAQ:
      if (r.type == 'H') return {true, false, phase_of_letter(venue, r.qty)};
      if (r.type == 'h') return {true, true, r.qty == 'H' ? Phase::kHalted : Phase::kTrading};
      return {};
    case WP_VENUE_IEX:
      if (r.type == 'H') return {true, false, phase_of_letter(venue, r.qty)};
      if (r.type == 'O') return {true, true, r.qty == 'O' ? Phase::kHalted : Phase::kTrading};
      return {};
    case WP_VENUE_CBOE:
      if (r.type == 0x31) return {true, false, phase_of_letter(venue, r.qty)};
      return {};
    case WP_VENUE_CME:
      // Definitions and SecurityStatus30; 60 has states of its own.
      if (r.type == 60 || r.qty == 0 || r.qty == kCmeNoChange) return {};
      return {true, false, phase_of_cme(r.qty)};
    default:
      return {};
  }
}

}  // namespace wp::feed
