/* SPDX-License-Identifier: Apache-2.0
 *
 * IEX TOPS 1.6, DEEP 1.0 and DEEP+ messages to wp_record; see iex_tables.h.
 */
#pragma once

#include <cstddef>
#include <cstdint>

#include "feed/iex_tables.h"
#include "feed/message_decoder.h"

namespace wp::feed {

/* instrument: SymbolTable's number, for IEX has none. A quote makes two records, bid
 * then ask. */
class IexDecoder : public TableDecoder<kIexMessages, WP_VENUE_IEX, 0> {
 public:
  using TableDecoder::TableDecoder;

  /* Returns how many records of out[0, kMaxRecords) were written; 0: see counters. */
  size_t decode(const uint8_t* msg, size_t len, const MessageContext& ctx, wp_record* out) {
    const message_detail::Plan* const plan = plan_of(msg, len);
    if (plan == nullptr) [[unlikely]]
      return 0;
    const int64_t time = net::load_le<int64_t>(msg + kIexHeader[0].offset);
    return make_records(msg, *plan, time, ctx, out);
  }
};

}  // namespace wp::feed
