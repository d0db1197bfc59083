/* SPDX-License-Identifier: Apache-2.0
 *
 * IEX and PITCH messages to records and raw columns: vectors by hand from the
 * specifications, symbols' numbers, and no allocation. Random messages against the
 * naive decoders are in framed_session_test.cc.
 */
#include <doctest/doctest.h>

#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "core/error.h"
#include "feed/alloc_counter.h"
#include "feed/iex.h"
#include "feed/pitch.h"
#include "feed/venue_columns.h"

namespace wp::feed {
namespace {

using Bytes = std::vector<uint8_t>;

/* "4d 00 'ZIEXT   '": bytes in hexadecimal, and text in quotes. */
Bytes bytes(const std::string& text) {
  Bytes out;
  for (size_t i = 0; i < text.size();) {
    if (text[i] == ' ') {
      ++i;
    } else if (text[i] == '\'') {
      for (++i; text[i] != '\''; ++i) out.push_back(static_cast<uint8_t>(text[i]));
      ++i;
    } else {
      out.push_back(static_cast<uint8_t>(std::stoul(text.substr(i, 2), nullptr, 16)));
      i += 2;
    }
  }
  return out;
}

template <class Decoder>
std::vector<wp_record> records(Decoder& decoder, const Bytes& m, const MessageContext& ctx = {}) {
  std::vector<wp_record> out(kMaxRecords);
  out.resize(decoder.decode(m.data(), m.size(), ctx, out.data()));
  return out;
}

// 2016-08-23 15:32:04.912754610 in New York, as IEX's examples have it.
const std::string kStamp = " b2 8f a5 a0 ab 86 6d 14 ";
constexpr int64_t kTime = 1'471'980'724'912'754'610;
const std::string kZiext = " 'ZIEXT   ' ";

TEST_CASE("DEEP: a price level, in the middle of an event and at its end") {
  SymbolTable symbols(4);
  IexDecoder decoder(symbols);
  const std::string rest = kStamp + kZiext + "e4 25 00 00  24 1d 0f 00 00 00 00 00";
  const MessageContext ctx{.seq = 9, .recv_time = 11, .channel = 3, .flags = WP_FLAG_LATE};
  const auto middle = records(decoder, bytes("38 00" + rest), ctx);
  REQUIRE(middle.size() == 1);
  const wp_record& r = middle[0];
  CHECK(r.seq == 9);
  CHECK(r.event_time == kTime);
  CHECK(r.recv_time == 11);
  CHECK(r.order_id == 0);
  CHECK(r.aux == symbol_key("ZIEXT"));
  CHECK(r.price == 99'050'000'000);
  CHECK(r.qty == 9700);
  CHECK(r.instrument == 1);
  CHECK(r.type == '8');
  CHECK(r.action == WP_ACTION_MODIFY);
  CHECK(r.side == 'B');
  CHECK(r.flags == WP_FLAG_LATE);
  CHECK(r.venue == WP_VENUE_IEX);
  CHECK(r.channel == 3);
  const auto end = records(decoder, bytes("35 01" + rest));
  REQUIRE(end.size() == 1);
  CHECK(end[0].side == 'S');
  CHECK(end[0].flags == WP_FLAG_END_OF_EVENT);
  CHECK(end[0].instrument == 1);
}

TEST_CASE("TOPS: a quote is two records") {
  SymbolTable symbols;
  IexDecoder decoder(symbols);
  const auto got = records(decoder, bytes("51 00" + kStamp + kZiext +
                                          "e4 25 00 00  24 1d 0f 00 00 00 00 00"
                                          "ec 1d 0f 00 00 00 00 00  e8 03 00 00"));
  REQUIRE(got.size() == 2);
  CHECK(got[0].side == 'B');
  CHECK(got[0].qty == 9700);
  CHECK(got[0].price == 99'050'000'000);
  CHECK(got[0].flags == 0);
  CHECK(got[1].side == 'S');
  CHECK(got[1].qty == 1000);
  CHECK(got[1].price == 99'070'000'000);
  CHECK(got[1].flags == WP_FLAG_END_OF_EVENT);
  for (const wp_record& r : got) {
    CHECK(r.action == WP_ACTION_MODIFY);
    CHECK(r.type == 'Q');
    CHECK(r.instrument == 1);
  }
  CHECK(decoder.counters().messages == 1);
  CHECK(decoder.counters().records == 2);
}

TEST_CASE("IEX: trades, a break, an auction, administrative messages") {
  SymbolTable symbols;
  IexDecoder decoder(symbols);
  const std::string trade =
      kStamp + kZiext + "64 00 00 00  24 1d 0f 00 00 00 00 00  96 8f 06 00 00 00 00 00";
  const auto t = records(decoder, bytes("54 00" + trade)).at(0);
  CHECK(t.action == WP_ACTION_TRADE);
  CHECK(t.aux == 429'974);
  CHECK(t.qty == 100);
  CHECK(t.price == 99'050'000'000);
  CHECK(records(decoder, bytes("42 00" + trade)).at(0).action == WP_ACTION_BREAK);
  const auto s = records(decoder, bytes("53 45" + kStamp)).at(0);
  CHECK(s.action == WP_ACTION_STATUS);
  CHECK(s.qty == 'E');
  CHECK(s.instrument == 0);
  const auto d =
      records(decoder, bytes("44 80" + kStamp + kZiext + "64 00 00 00  24 1d 0f 00 00 00 00 00 01"))
          .at(0);
  CHECK(d.qty == 100);
  CHECK(d.price == 99'050'000'000);
  const auto h = records(decoder, bytes("48 48" + kStamp + kZiext + "54 31 20 20")).at(0);
  CHECK(h.qty == 'H');
  CHECK(h.aux == symbol_key("ZIEXT"));
  CHECK(records(decoder, bytes("4f 4f" + kStamp + kZiext)).at(0).qty == 'O');
  CHECK(records(decoder, bytes("50 01" + kStamp + kZiext + "41")).at(0).qty == 1);
  CHECK(records(decoder, bytes("45 4f" + kStamp + kZiext)).at(0).qty == 'O');
  CHECK(records(decoder, bytes("49 41" + kStamp + kZiext)).at(0).qty == 'A');
  const auto x =
      records(decoder, bytes("58 51" + kStamp + kZiext + "24 1d 0f 00 00 00 00 00")).at(0);
  CHECK(x.qty == 'Q');
  CHECK(x.price == 99'050'000'000);
  const std::string price = " 24 1d 0f 00 00 00 00 00 ";
  const auto a =
      records(decoder, bytes("41 43" + kStamp + kZiext + "a0 86 01 00" + price + price +
                             "10 27 00 00 42 00 80 e6 f4 58" + price + price + price + price))
          .at(0);
  CHECK(a.qty == 100'000);
  CHECK(a.side == 'B');
  CHECK(decoder.counters().messages == 10 + 1);
}

TEST_CASE("DEEP+: the life of an order") {
  SymbolTable symbols;
  IexDecoder decoder(symbols);
  const std::string id = " 96 8f 06 00 00 00 00 00 ";
  const std::string rest = kStamp + kZiext + id + "64 00 00 00  24 1d 0f 00 00 00 00 00";
  const auto add = records(decoder, bytes("61 38" + rest)).at(0);
  CHECK(add.action == WP_ACTION_ADD);
  CHECK(add.order_id == 429'974);
  CHECK(add.side == 'B');
  CHECK(add.aux == symbol_key("ZIEXT"));
  CHECK(records(decoder, bytes("61 35" + rest)).at(0).side == 'S');
  const auto modify = records(decoder, bytes("4d 00" + rest)).at(0);
  CHECK(modify.action == WP_ACTION_MODIFY);
  CHECK(modify.order_id == 429'974);
  CHECK(modify.aux == 429'974);
  CHECK(modify.flags == 0);
  CHECK(modify.instrument == 1);
  CHECK(records(decoder, bytes("4d 01" + rest)).at(0).flags == WP_FLAG_KEEPS_PRIORITY);
  const auto executed = records(decoder, bytes("4c 00" + rest + "07 00 00 00 00 00 00 00")).at(0);
  CHECK(executed.action == WP_ACTION_EXECUTE);
  CHECK(executed.qty == 100);
  CHECK(executed.aux == 7);
  const auto gone = records(decoder, bytes("52 00" + kStamp + kZiext + id)).at(0);
  CHECK(gone.action == WP_ACTION_DELETE);
  CHECK(gone.order_id == 429'974);
  const auto clear = records(decoder, bytes("43 00" + kStamp + kZiext)).at(0);
  CHECK(clear.action == WP_ACTION_CLEAR);
  CHECK(clear.instrument == 1);
}

TEST_CASE("IEX: prices are signed; those that do not fit are marked") {
  SymbolTable symbols;
  IexDecoder decoder(symbols);
  const auto price = [&](const std::string& raw) {
    return records(decoder, bytes("58 51" + kStamp + kZiext + raw)).at(0);
  };
  CHECK(price("ff ff ff ff ff ff ff ff").price == -100'000);
  CHECK(price("ff ff ff ff ff ff ff ff").flags == 0);
  CHECK(price("ff ff ff ff ff ff ff 7f").price == INT64_MAX);
  CHECK(price("00 00 00 00 00 00 00 80").price == INT64_MIN);
  CHECK(price("00 00 00 00 00 00 00 80").flags == WP_FLAG_SATURATED);
}

TEST_CASE("unknown types and wrong lengths are counted and skipped") {
  SymbolTable symbols;
  IexDecoder iex(symbols);
  CHECK(records(iex, bytes("7a 00")).empty());
  CHECK(records(iex, {}).empty());
  CHECK(records(iex, bytes("53 45 00")).empty());
  CHECK(records(iex, bytes("53 45" + kStamp + "00")).empty());
  CHECK(iex.counters().unknown == 1);
  CHECK(iex.counters().malformed == 3);
  CHECK(iex.counters().messages == 0);
  PitchDecoder pitch(symbols);
  CHECK(records(pitch, bytes("06 ee 00 00 00 00")).empty());
  CHECK(records(pitch, bytes("05 20 00 00 00")).empty());
  CHECK(records(pitch, bytes("01")).empty());
  CHECK(pitch.counters().unknown == 1);
  CHECK(pitch.counters().malformed == 2);
}

constexpr int64_t kMidnight = 1'577'682'000'000'000'000;
const std::string kOffset = " 40 42 0f 00 ";  // 1,000,000 ns
const std::string kOrder = " 05 40 5b 77 8f 56 1d 0b ";
constexpr uint64_t kOrderId = 0x0b1d568f775b4005;

TEST_CASE("PITCH: time is the unit's latest second and an offset") {
  SymbolTable symbols;
  PitchDecoder decoder(symbols, kMidnight);
  const Bytes gone = bytes("0e 29" + kOffset + kOrder);
  const auto at = [&](uint8_t unit) {
    return records(decoder, gone, {.unit = unit}).at(0).event_time;
  };
  CHECK(at(1) == 0);
  CHECK(decoder.counters().untimed == 1);
  const auto time = records(decoder, bytes("06 20 98 85 00 00"), {.unit = 1}).at(0);  // 34,200 s
  CHECK(time.action == WP_ACTION_OTHER);
  CHECK(time.event_time == kMidnight + 34'200'000'000'000);
  CHECK(at(1) == kMidnight + 34'200'001'000'000);
  CHECK(at(2) == 0);
  decoder.forget_time(1);
  CHECK(at(1) == 0);
  CHECK(decoder.counters().untimed == 3);
  CHECK(decoder.counters().by_type[0x29] == 4);
}

TEST_CASE("PITCH: a late run neither has nor moves the unit's time") {
  SymbolTable symbols;
  PitchDecoder decoder(symbols);
  const auto second = [&](const std::string& message, uint64_t seq, bool late) {
    const uint8_t flags = late ? WP_FLAG_LATE : 0;
    return records(decoder, bytes(message), {.seq = seq, .unit = 1, .flags = flags})
               .at(0)
               .event_time /
           1'000'000'000;
  };
  const std::string gone = "0e 29" + kOffset + kOrder;
  CHECK(second("06 20 64 00 00 00", 20, false) == 100);
  CHECK(second(gone, 10, true) == 0);
  CHECK(second("06 20 5a 00 00 00", 11, true) == 90);
  CHECK(second(gone, 12, true) == 90);
  CHECK(second(gone, 21, false) == 100);
  CHECK(second(gone, 13, true) == 90);
  CHECK(second(gone, 15, true) == 0);
}

TEST_CASE("PITCH: orders, long, short and expanded, of one symbol") {
  SymbolTable symbols;
  PitchDecoder decoder(symbols, kMidnight);
  const auto l = records(decoder, bytes("22 21" + kOffset + kOrder +
                                        "42 20 4e 00 00 'ZVZZT ' 5a 23 00 00 00 00 00 00 01"))
                     .at(0);
  CHECK(l.action == WP_ACTION_ADD);
  CHECK(l.order_id == kOrderId);
  CHECK(l.side == 'B');
  CHECK(l.qty == 20'000);
  CHECK(l.price == 905'000'000);
  CHECK(l.aux == symbol_key("ZVZZT"));
  CHECK(l.instrument == 1);
  CHECK(l.type == 0x21);
  CHECK(l.venue == WP_VENUE_CBOE);
  const auto s =
      records(decoder, bytes("1a 22" + kOffset + kOrder + "53 20 4e 'ZVZZT ' 0a 28 01")).at(0);
  CHECK(s.side == 'S');
  CHECK(s.qty == 20'000);
  CHECK(s.price == 102'500'000'000);
  CHECK(s.instrument == 1);
  const std::string expanded =
      kOffset + kOrder + "42 20 4e 00 00 'ZVZZT   ' 5a 23 00 00 00 00 00 00 01 'MPID' 'C'";
  const auto x = records(decoder, bytes("29 2f" + expanded)).at(0);
  CHECK(x.qty == 20'000);
  CHECK(x.price == 905'000'000);
  CHECK(x.aux == symbol_key("ZVZZT"));
  CHECK(x.instrument == 1);
  CHECK(records(decoder, bytes("32 2f" + expanded + "'123456789'")).at(0).qty == 20'000);
  CHECK(records(decoder, bytes("2a 2f" + expanded + "'1'")).empty());
}

TEST_CASE("PITCH: executions, reductions, modifications, trades") {
  SymbolTable symbols;
  PitchDecoder decoder(symbols);
  const std::string id = " 34 2b 46 e0 bb 00 00 00 ";
  const auto one = [&](const std::string& text) { return records(decoder, bytes(text)).at(0); };
  const auto e = one("1a 23" + kOffset + kOrder + "64 00 00 00" + id);
  CHECK(e.action == WP_ACTION_EXECUTE);
  CHECK(e.qty == 100);
  CHECK(e.aux == 0xbbe0462b34);
  CHECK(one("1b 23" + kOffset + kOrder + "64 00 00 00" + id + "'S'").aux == 0xbbe0462b34);
  const auto p =
      one("26 24" + kOffset + kOrder + "64 00 00 00 bc 4d 00 00" + id + "e8 a3 0f 00 00 00 00 00");
  CHECK(p.qty == 100);
  CHECK(p.price == 102'500'000'000);
  CHECK(p.aux == 0xbbe0462b34);
  CHECK(one("12 25" + kOffset + kOrder + "64 00 00 00").qty == 100);
  const auto c = one("10 26" + kOffset + kOrder + "64 00");
  CHECK(c.action == WP_ACTION_CANCEL);
  CHECK(c.qty == 100);
  CHECK(c.order_id == kOrderId);
  const auto m = one("1b 27" + kOffset + kOrder + "f8 24 01 00  e8 a3 0f 00 00 00 00 00 03");
  CHECK(m.action == WP_ACTION_MODIFY);
  CHECK(m.qty == 75'000);
  CHECK(m.price == 102'500'000'000);
  CHECK(m.aux == kOrderId);
  CHECK(m.flags == WP_FLAG_KEEPS_PRIORITY);
  const auto n = one("13 28" + kOffset + kOrder + "f8 24 0a 28 01");
  CHECK(n.qty == 9464);
  CHECK(n.price == 102'500'000'000);
  CHECK(n.flags == 0);
  const auto t =
      one("29 2a" + kOffset + kOrder + "42 f8 24 01 00 'ZVZZT ' e8 a3 0f 00 00 00 00 00" + id);
  CHECK(t.action == WP_ACTION_TRADE);
  CHECK(t.qty == 75'000);
  CHECK(t.aux == 0xbbe0462b34);
  CHECK(t.instrument == 1);
  CHECK(one("21 2b" + kOffset + kOrder + "42 f8 24 'ZVZZT ' 0a 28" + id).price == 102'500'000'000);
  CHECK(one("2b 30" + kOffset + kOrder + "53 f8 24 01 00 'ZVZZT   ' e8 a3 0f 00 00 00 00 00" + id)
            .side == 'S');
  const auto b = one("0e 2c" + kOffset + id);
  CHECK(b.action == WP_ACTION_BREAK);
  CHECK(b.aux == 0xbbe0462b34);
  CHECK(one("06 2d" + kOffset).action == WP_ACTION_STATUS);
  CHECK(one("12 31" + kOffset + "'ZVZZT   T0  '").qty == 'T');
  CHECK(one("06 bc" + kOffset).flags == 0);
  CHECK(one("06 bd" + kOffset).flags == WP_FLAG_END_OF_EVENT);
  const auto u = records(decoder, bytes("06 97" + kOffset), {.unit = 5}).at(0);
  CHECK(u.action == WP_ACTION_CLEAR);
  CHECK(u.instrument == 0);
  CHECK(u.aux == 5);
}

TEST_CASE("symbols are numbered in order of appearance, as many as fit") {
  SymbolTable t(3);
  CHECK(t.number(symbol_key("A")) == 0);
  CHECK(t.intern(symbol_key("A")) == 1);
  CHECK(t.intern(symbol_key("B")) == 2);
  CHECK(t.intern(symbol_key("A")) == 1);
  CHECK(t.intern(0) == 3);
  CHECK(t.intern(symbol_key("D")) == 0);
  CHECK(t.refused() == 1);
  CHECK(t.intern(symbol_key("B       and more")) == 2);
  CHECK(t.keys() == std::vector<uint64_t>{symbol_key("A"), symbol_key("B"), 0});
  CHECK_THROWS_AS(SymbolTable(0), Error);
  SymbolTable many(5000);
  for (int pass = 0; pass < 2; ++pass) {
    size_t wrong = 0;
    for (uint32_t i = 0; i < 5000; ++i)
      wrong += many.intern(symbol_key("S" + std::to_string(i))) != i + 1;
    CHECK(wrong == 0);
  }
}

uint64_t number(const uint8_t* p, size_t width) {
  uint64_t v = 0;
  for (size_t i = width; i-- > 0;) v = v << 8 | p[i];
  return v;
}

/* Every field of random messages comes back through the exported layout. */
template <size_t kN>
void round_trip(const ColumnTable& table, const WireMessage (&messages)[kN], size_t stamps,
                std::span<const MessageField> header) {
  std::mt19937_64 random(7);
  MessageColumns columns(table);
  size_t wrong = 0;
  for (size_t i = 0; i < kN; ++i) {
    const WireMessage& m = messages[i];
    const RowLayout& layout = table.layouts[i];
    REQUIRE(layout.type == m.type);
    REQUIRE(layout.columns.size() == stamps + header.size() + m.fields.size());
    for (int round = 0; round < 40; ++round) {
      const bool is_long = m.long_length != 0 && round % 2 != 0;
      Bytes bytes(is_long ? m.long_length : m.length);
      for (uint8_t& b : bytes) b = static_cast<uint8_t>(random());
      bytes[table.type_at] = m.type;
      const RowStamp stamp{random(), -1, -2, -3, 9};
      REQUIRE(columns.append(bytes.data(), bytes.size(), stamp) == MessageResult::kOk);
      const std::vector<uint8_t> row = columns.take(m.type);
      REQUIRE(row.size() == layout.itemsize);
      for (size_t c = 0; c < layout.columns.size(); ++c) {
        const RowColumn& column = layout.columns[c];
        const std::string digits = column.format.substr(column.format.find_first_of("0123456789"));
        const size_t width = std::stoul(digits);
        const uint8_t* const at = row.data() + column.offset;
        if (c < stamps) {
          const uint64_t want = column.name == "seq"          ? stamp.seq
                                : column.name == "recv_time"  ? static_cast<uint64_t>(-1)
                                : column.name == "send_time"  ? static_cast<uint64_t>(-2)
                                : column.name == "event_time" ? static_cast<uint64_t>(-3)
                                                              : 9;
          wrong += number(at, width) != (width == 1 ? want & 0xff : want);
          continue;
        }
        const size_t f = c - stamps;
        const MessageField& field = f < header.size() ? header[f] : m.fields[f - header.size()];
        wrong += column.name != field.name || width != field.width;
        const Bytes none(field.width);
        const bool there = size_t{field.offset} + field.width <= bytes.size();
        wrong += std::memcmp(at, there ? &bytes[field.offset] : none.data(), width) != 0;
      }
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("every field of every type comes back as it was on the wire") {
  round_trip(iex_column_table(), kIexMessages, 3, kIexHeader);
  round_trip(pitch_column_table(), kPitchMessages, 4, {});
}

TEST_CASE("the layouts of a trade and of an execution") {
  const auto text = [](const RowLayout& layout) {
    std::string out;
    for (const RowColumn& c : layout.columns) {
      out += c.name + " " + c.format + " @" + std::to_string(c.offset) + " " + c.unit + "\n";
    }
    return out;
  };
  const ColumnTable& iex = iex_column_table();
  CHECK(text(iex.layouts[iex.index_of('T')]) ==
        "seq <u8 @0 sequence number\n"
        "recv_time <i8 @8 ns since the Unix epoch\n"
        "send_time <i8 @16 ns since the Unix epoch\n"
        "timestamp <i8 @24 ns since the Unix epoch\n"
        "sale_condition_flags u1 @32 \n"
        "symbol S8 @33 \n"
        "size <u4 @41 shares\n"
        "price <i8 @45 1e-4 USD\n"
        "trade_id <i8 @53 \n");
  const ColumnTable& pitch = pitch_column_table();
  CHECK(text(pitch.layouts[pitch.index_of(0x23)]) ==
        "seq <u8 @0 sequence number\n"
        "recv_time <i8 @8 ns since the Unix epoch\n"
        "unit u1 @16 \n"
        "event_time <i8 @17 ns since the Unix epoch\n"
        "time_offset <u4 @25 ns since the Time message\n"
        "order_id <u8 @29 \n"
        "quantity <u4 @37 shares or contracts\n"
        "execution_id <u8 @41 \n"
        "trade_condition S1 @49 \n");
  const uint8_t wrong[] = {0x99};
  CHECK_THROWS_WITH_AS(MessageColumns(pitch, wrong), doctest::Contains("type = 0x99"), Error);
}

TEST_CASE("decoding allocates nothing, not even for new symbols") {
  SymbolTable symbols(64);
  IexDecoder decoder(symbols);
  Bytes m = bytes("38 00" + kStamp + kZiext + "e4 25 00 00  24 1d 0f 00 00 00 00 00");
  wp_record out[kMaxRecords];
  const uint64_t before = testing::allocations();
  for (int i = 0; i < 1000; ++i) {
    m[10] = static_cast<uint8_t>(i);
    decoder.decode(m.data(), m.size(), {}, out);
  }
  CHECK(testing::allocations() == before);
  CHECK(symbols.keys().size() == 64);
  CHECK(symbols.refused() > 0);
}

}  // namespace
}  // namespace wp::feed
