/* SPDX-License-Identifier: Apache-2.0
 *
 * Fuzz target: payloads to several destinations through LineReader, of every
 * protocol. Every payload is in one counter, every number of a sequence too, and
 * records and rows are those of the messages that were delivered.
 *
 * Input: protocol, then packets of destination u8, time step u8, length u16 and bytes.
 */
#include "feed/line_reader.h"

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "feed/iex.h"
#include "feed/pitch.h"
#include "feed/venue_columns.h"

namespace {

using namespace wp::feed;

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "%s\n", what);
  std::abort();
}

template <class Framer, class Maker>
void run(Maker maker, uint32_t units, const uint8_t* data, size_t size, auto check) {
  ArbiterOptions options;
  options.units = units;
  options.hold_ns = 1000;
  options.hold_messages = 32;
  options.hold_bytes = 4096;
  options.max_gaps = 8;
  options.skew_packets = 8;
  LineReader<Framer, Maker, 3, 3> reader(options, std::move(maker), 3);
  int64_t now = 1;
  uint64_t payloads = 0;
  while (size >= 4) {
    LineAddress to;
    to.port = data[0] % 4;
    now += data[1] * 16;
    const size_t n = std::min<size_t>(data[2] | data[3] << 8, size - 4);
    const std::vector<uint8_t> bytes(data + 4,
                                     data + 4 + n);  // its end is the sanitizer's to watch
    reader.on_payload(to, bytes.data(), bytes.size(), now);
    ++payloads;
    data += 4 + n;
    size -= 4 + n;
  }
  reader.flush();
  const LineReaderCounters& c = reader.counters();
  uint64_t packets = 0, delivered = 0, unsequenced = 0;
  for (size_t i = 0; i < reader.channels(); ++i) {
    const auto& arbiter = reader.arbiter(i);
    for (const ArbiterLine& line : arbiter.lines()) {
      packets += line.counters.packets;
      unsequenced += line.counters.unsequenced_messages;
    }
    const UnitCounters u = arbiter.counters();
    require(u.held == 0 && u.gap_open == 0, "something is held after the end");
    require(u.gap_messages == u.gap_filled + u.abandoned, "gaps");
    delivered += u.delivered;
  }
  require(c.payloads == payloads, "payloads");
  require(payloads == packets + c.foreign + c.other_line + c.other_channel + c.no_session,
          "packets");
  check(reader.maker(), delivered + unsequenced);
}

const auto kRecords = [](auto& maker, uint64_t messages) {
  const auto& c = maker.counters();
  require(c.messages + c.unknown + c.malformed == messages, "messages");
  require(maker.records().size() >= c.messages, "records");
};
const auto kRows = [](auto& maker, uint64_t messages) {
  const auto c = maker.counters();
  require(c.messages + c.unknown + c.malformed == messages, "messages");
  require(maker.pending() == c.messages, "rows");
};
const auto kPackets = [](auto& maker, uint64_t messages) {
  require(maker.lengths().size() == messages && maker.times().size() == messages, "packets");
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  SymbolTable symbols(64);
  const uint8_t which = data[0] % 7;
  ++data;
  --size;
  switch (which) {
    case 0:
      run<MoldFramer>(ItchRecordMaker(0), 1, data, size, kRecords);
      break;
    case 1:
      run<MoldFramer>(ItchColumnMaker(""), 1, data, size, kRows);
      break;
    case 2:
      run<IexTpFramer>(RecordMaker<IexDecoder>(IexDecoder(symbols)), 1, data, size, kRecords);
      break;
    case 3:
      run<IexTpFramer>(ColumnMaker<IexDecoder>(IexDecoder(symbols), iex_column_table(), {}), 1,
                       data, size, kRows);
      break;
    case 4:
      run<PitchFramer>(RecordMaker<PitchDecoder>(PitchDecoder(symbols)), 4, data, size, kRecords);
      break;
    case 5:
      run<PitchFramer>(ColumnMaker<PitchDecoder>(PitchDecoder(symbols), pitch_column_table(), {}),
                       4, data, size, kRows);
      break;
    default:
      run<CmeFramer>(PacketMaker(), 1, data, size, kPackets);
  }
  return 0;
}
