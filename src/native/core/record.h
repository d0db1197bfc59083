/* SPDX-License-Identifier: Apache-2.0
 *
 * The normalised market-data record: one 64-byte layout for every venue, one
 * cache line, the unit that a Ring carries. Plain C, little-endian hosts only;
 * seen from Python as the structured dtype `wirepath.RECORD`.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* What a message does to the book. EXECUTE reduces a resting order, TRADE is a
 * print that leaves the visible book alone; a reader who only wants volume
 * takes both and looks at WP_FLAG_NON_PRINTABLE. */
enum wp_action {
  WP_ACTION_OTHER = 0,   /* understood, nothing to do with orders or state */
  WP_ACTION_ADD = 1,     /* new resting order: order_id, side, qty, price */
  WP_ACTION_MODIFY = 2,  /* aux = old order id, order_id = new one, qty and price its new ones,
                          * priority lost unless flagged; order_id 0: the level at (side, price)
                          * now holds qty, 0 = it is gone (of a quote: the side's best level);
                          * CME: order_id is both, aux its priority, or the numbered level */
  WP_ACTION_CANCEL = 3,  /* order_id reduced by qty */
  WP_ACTION_DELETE = 4,  /* order_id gone */
  WP_ACTION_EXECUTE = 5, /* order_id reduced by qty; aux = match number */
  WP_ACTION_TRADE = 6,   /* print without a visible order; aux = match number */
  WP_ACTION_BREAK = 7,   /* earlier trade cancelled; aux = match number */
  WP_ACTION_CLEAR = 8,   /* the book of this instrument (0: all) is void */
  WP_ACTION_STATUS = 9,  /* trading state, directory, auction information */
};

enum wp_record_flags {
  WP_FLAG_LATE = 1 << 0,           /* arrived after a higher sequence number */
  WP_FLAG_NON_PRINTABLE = 1 << 1,  /* excluded from volume statistics */
  WP_FLAG_SATURATED = 1 << 2,      /* qty or price did not fit; raw columns have the value */
  WP_FLAG_RECOVERED = 1 << 3,      /* came from a retransmission, not from a line */
  WP_FLAG_END_OF_EVENT = 1 << 4,   /* the book is consistent behind this; where the venue says so */
  WP_FLAG_KEEPS_PRIORITY = 1 << 5, /* MODIFY: the order keeps its place in the queue */
};

/* price of a record that has none, where the venue knows prices of 0 and below (CME). */
#define WP_NO_PRICE INT64_MAX

enum wp_venue {
  WP_VENUE_NONE = 0,
  WP_VENUE_NASDAQ = 1,
  WP_VENUE_IEX = 2,
  WP_VENUE_CME = 3,
  WP_VENUE_CBOE = 4,
  WP_VENUE_NYSE = 5,
};

struct wp_record {
  uint64_t seq;        /* venue sequence number of the message */
  int64_t event_time;  /* venue's event time, ns since the Unix epoch (see Itch50 for ITCH) */
  int64_t recv_time;   /* when the frame arrived, ns since the Unix epoch; source: Port info */
  uint64_t order_id;   /* 0 where the message names no order */
  uint64_t aux;        /* by action: old order id, match number; symbol bytes for add/status */
  int64_t price;       /* fixed point, 1e-9 units of currency */
  uint32_t qty;        /* shares or contracts; STATUS: see the venue's table */
  uint32_t instrument; /* venue's number (ITCH: stock locate), or ours: SymbolTable */
  uint16_t type;       /* venue's message type (ITCH: the ASCII letter) */
  uint8_t action;      /* enum wp_action */
  uint8_t side;        /* 'B', 'S' or 0 */
  uint8_t flags;       /* enum wp_record_flags */
  uint8_t venue;       /* enum wp_venue */
  uint16_t channel;    /* user's number for the channel the message came on */
};

#ifdef __cplusplus
static_assert(sizeof(wp_record) == 64, "one record is one cache line");
static_assert(offsetof(wp_record, price) == 40 && offsetof(wp_record, type) == 56);
#endif
