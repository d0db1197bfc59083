/* SPDX-License-Identifier: Apache-2.0
 *
 * The tables of raw columns of IEX and Cboe PITCH; see message_columns.h for rows.
 */
#pragma once

#include "feed/message_columns.h"

namespace wp::feed {

/* A row is seq, recv_time, send_time (of the segment), timestamp, then the fields of
 * iex_tables.h. */
const ColumnTable& iex_column_table();

/* A row is seq, recv_time, unit, event_time (what PitchDecoder::time_of says), then
 * the fields of pitch_tables.h. */
const ColumnTable& pitch_column_table();

}  // namespace wp::feed
