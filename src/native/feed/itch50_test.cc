/* SPDX-License-Identifier: Apache-2.0
 *
 * The ITCH 5.0 decoder: chosen messages by hand, then random streams against the
 * naive decoder, then no allocation.
 */
#include "feed/itch50.h"

#include <doctest/doctest.h>

#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "feed/alloc_counter.h"
#include "feed/itch50_differential.h"

namespace wp::feed {
namespace {

using Bytes = std::vector<uint8_t>;

/* A message of the type with every byte after the type zero. */
Bytes blank(char type) {
  Bytes m(kItch50Lengths[static_cast<uint8_t>(type)]);
  m[0] = static_cast<uint8_t>(type);
  return m;
}

void put(Bytes& m, size_t at, size_t width, uint64_t value) {
  for (size_t i = 0; i < width; ++i) {
    m[at + i] = static_cast<uint8_t>(value >> (8 * (width - 1 - i)));
  }
}

void put(Bytes& m, size_t at, const char* text) {
  std::memcpy(&m[at], text, std::strlen(text));
}

void frame(Bytes& file, const Bytes& m) {
  file.push_back(static_cast<uint8_t>(m.size() >> 8));
  file.push_back(static_cast<uint8_t>(m.size()));
  file.insert(file.end(), m.begin(), m.end());
}

wp_record decode(const Bytes& m, const Itch50Context& ctx = {}) {
  wp_record r;
  std::memset(&r, 0xee, sizeof r);
  CHECK(itch50_decode(m.data(), m.size(), ctx, r) == ItchResult::kOk);
  return r;
}

TEST_CASE("the lengths of all 23 types") {
  const std::string types = "SRHYLVWKJhAFECXDUPQBINO";
  const int lengths[] = {12, 39, 25, 20, 26, 35, 12, 28, 35, 21, 36, 40,
                         31, 36, 23, 19, 35, 44, 40, 19, 50, 20, 48};
  size_t known = 0;
  for (uint16_t length : kItch50Lengths) known += length != 0;
  CHECK(known == 23);
  for (size_t i = 0; i < types.size(); ++i) {
    CHECK(kItch50Lengths[static_cast<uint8_t>(types[i])] == lengths[i]);
    CHECK(kItch50Messages[static_cast<size_t>(kItch50Index[static_cast<uint8_t>(types[i])])].type ==
          types[i]);
  }
}

TEST_CASE("an add, every member") {
  Bytes m = blank('A');
  put(m, 1, 2, 0x0102);
  put(m, 3, 2, 0xffff);
  put(m, 5, 6, 34'200'000'000'123);
  put(m, 11, 8, 0x1122334455667788);
  put(m, 19, "S");
  put(m, 20, 4, 300);
  put(m, 24, "AAPL    ");
  put(m, 32, 4, 1'894'500);  // 189.45
  const Itch50Context ctx{77, 1'700'000'000'000'000'005, 1'699'999'200'000'000'000, 9,
                          WP_FLAG_LATE};
  const wp_record r = decode(m, ctx);
  CHECK(r.seq == 77);
  CHECK(r.event_time == 1'700'033'400'000'000'123);
  CHECK(r.recv_time == 1'700'000'000'000'000'005);
  CHECK(r.order_id == 0x1122334455667788);
  CHECK(std::memcmp(&r.aux, "AAPL    ", 8) == 0);
  CHECK(r.price == 189'450'000'000);
  CHECK(r.qty == 300);
  CHECK(r.instrument == 0x0102);
  CHECK(r.type == 'A');
  CHECK(r.action == WP_ACTION_ADD);
  CHECK(r.side == 'S');
  CHECK(r.flags == WP_FLAG_LATE);
  CHECK(r.venue == WP_VENUE_NASDAQ);
  CHECK(r.channel == 9);
}

TEST_CASE("what an execution, a replace and a trade say") {
  Bytes c = blank('C');
  put(c, 11, 8, 5);
  put(c, 19, 4, 10);
  put(c, 23, 8, 99);
  put(c, 31, "N");
  put(c, 32, 4, 10'000);
  wp_record r = decode(c);
  CHECK(r.action == WP_ACTION_EXECUTE);
  CHECK(r.order_id == 5);
  CHECK(r.aux == 99);
  CHECK(r.price == 1'000'000'000);
  CHECK(r.flags == WP_FLAG_NON_PRINTABLE);
  put(c, 31, "Y");
  CHECK(decode(c).flags == 0);

  Bytes u = blank('U');
  put(u, 11, 8, 5);
  put(u, 19, 8, 6);
  r = decode(u);
  CHECK(r.action == WP_ACTION_MODIFY);
  CHECK(r.order_id == 6);
  CHECK(r.aux == 5);
  CHECK(r.side == 0);

  Bytes p = blank('P');
  put(p, 19, "B");
  put(p, 36, 8, 1234);
  r = decode(p);
  CHECK(r.action == WP_ACTION_TRADE);
  CHECK(r.aux == 1234);
  CHECK(r.side == 'B');

  Bytes h = blank('H');
  put(h, 11, "ZVZZT   ");
  put(h, 19, "T");
  r = decode(h);
  CHECK(r.action == WP_ACTION_STATUS);
  CHECK(r.qty == 'T');
  CHECK(std::memcmp(&r.aux, "ZVZZT   ", 8) == 0);
}

TEST_CASE("values that do not fit saturate, those that just fit do not") {
  Bytes q = blank('Q');
  put(q, 11, 8, UINT32_MAX);
  CHECK(decode(q).qty == UINT32_MAX);
  CHECK(decode(q).flags == 0);
  put(q, 11, 8, uint64_t{UINT32_MAX} + 1);
  CHECK(decode(q).qty == UINT32_MAX);
  CHECK(decode(q).flags == WP_FLAG_SATURATED);

  Bytes v = blank('V');
  put(v, 11, 8, 922'337'203'685'477'580);
  CHECK(decode(v).price == 9'223'372'036'854'775'800);
  CHECK(decode(v).flags == 0);
  put(v, 11, 8, 922'337'203'685'477'581);
  CHECK(decode(v).price == INT64_MAX);
  CHECK(decode(v).flags == WP_FLAG_SATURATED);

  Bytes a = blank('A');
  put(a, 32, 4, UINT32_MAX);
  CHECK(decode(a).price == 429'496'729'500'000);
  CHECK(decode(a).flags == 0);
}

TEST_CASE("the side of an imbalance: B and S, else none") {
  Bytes i = blank('I');
  for (const auto& [direction, side] :
       {std::pair{'B', 'B'}, {'S', 'S'}, {'N', '\0'}, {'O', '\0'}, {'P', '\0'}}) {
    i[27] = static_cast<uint8_t>(direction);
    CHECK(decode(i).side == side);
  }
}

TEST_CASE("unknown and malformed are told apart and write nothing") {
  Itch50Decoder decoder;
  wp_record r, untouched;
  std::memset(&r, 0xee, sizeof r);
  untouched = r;
  Bytes m = blank('D');
  m.push_back(0);
  CHECK(decoder.decode(m.data(), m.size(), {}, r) == ItchResult::kMalformed);
  CHECK(decoder.decode(m.data(), 18, {}, r) == ItchResult::kMalformed);
  CHECK(decoder.decode(m.data(), 0, {}, r) == ItchResult::kMalformed);
  m[0] = 'z';
  CHECK(decoder.decode(m.data(), m.size(), {}, r) == ItchResult::kUnknown);
  CHECK(decoder.decode(m.data(), 1, {}, r) == ItchResult::kUnknown);
  CHECK(std::memcmp(&r, &untouched, sizeof r) == 0);
  CHECK(decoder.counters().malformed == 3);
  CHECK(decoder.counters().unknown == 2);
  CHECK(decoder.counters().messages == 0);
}

TEST_CASE("frames: numbering, ends and a full buffer") {
  Bytes file;
  frame(file, blank('D'));
  frame(file, {'z'});
  frame(file, blank('X'));
  const size_t whole = file.size();
  wp_record out[4];
  size_t used = 0;
  Itch50Decoder decoder;
  Itch50Context ctx{.seq = 10};

  CHECK(decoder.decode_frames(file.data(), file.size(), out, 4, &used, ctx) == 2);
  CHECK(out[0].seq == 10);
  CHECK(out[1].seq == 12);  // the unknown one has a number too
  CHECK(ctx.seq == 13);
  CHECK(decoder.end() == ItchFileEnd::kClean);

  CHECK(decoder.decode_frames(file.data(), file.size(), out, 1, &used, ctx) == 1);
  CHECK(decoder.end() == ItchFileEnd::kNone);
  CHECK(used == 21);

  CHECK(decoder.decode_frames(file.data(), whole - 1, out, 4, &used, ctx, false) == 1);
  CHECK(decoder.end() == ItchFileEnd::kTruncated);
  CHECK(used == 24);
  CHECK(decoder.counters().truncated == 0);
  CHECK(decoder.decode_frames(file.data(), whole - 1, out, 4, &used, ctx) == 1);
  CHECK(used == whole - 1);
  CHECK(decoder.counters().truncated == 1);

  file.insert(file.end(), {0, 0, 0, 1});
  CHECK(decoder.decode_frames(file.data(), file.size(), out, 4, &used, ctx) == 2);
  CHECK(decoder.end() == ItchFileEnd::kEndOfSession);
  CHECK(used == whole + 2);
  CHECK(decoder.counters().end_of_session == 1);
}

/* All 23 types with random bytes, some damage, sometimes an end of session. */
Bytes random_file(std::mt19937_64& random, size_t frames) {
  Bytes file;
  for (size_t i = 0; i < frames; ++i) {
    Bytes m = blank(kItch50Messages[random() % kItch50Types].type);
    for (size_t j = 1; j < m.size(); ++j) {
      // Extremes and letters that mean something more often than chance has them.
      const uint64_t pick = random() % 8;
      m[j] = static_cast<uint8_t>(pick == 0   ? 0
                                  : pick == 1 ? 0xff
                                  : pick == 2 ? "BSN"[random() % 3]
                                              : random());
    }
    if (random() % 20 == 0) m.resize(1 + random() % 60);
    if (random() % 20 == 0) m[0] = static_cast<uint8_t>(random());
    frame(file, m);
  }
  if (random() % 3 == 0) file.insert(file.end(), {0, 0, 1});
  if (random() % 3 == 0)
    file.resize(file.size() - random() % std::min<size_t>(file.size() + 1, 40));
  return file;
}

TEST_CASE("random streams: the decoder agrees with the naive one") {
  std::mt19937_64 random(50);
  for (int round = 0; round < 400; ++round) {
    const Bytes file = random_file(random, random() % 80);
    const Itch50Context ctx{random() % 1000, static_cast<int64_t>(random() >> 2),
                            static_cast<int64_t>(random() >> 2), static_cast<uint16_t>(random()),
                            static_cast<uint8_t>(random() % 2 ? WP_FLAG_LATE : 0)};
    const char* const difference =
        naive::itch_difference(file, ctx, 1 + random() % 30, random() % 2 * (1 + random() % 90));
    INFO("round " << round << " differs in " << (difference == nullptr ? "" : difference));
    REQUIRE(difference == nullptr);
  }
}

TEST_CASE("no message allocates") {
  std::mt19937_64 random(51);
  const Bytes file = random_file(random, 5000);
  std::vector<wp_record> out(64);
  Itch50Decoder decoder;
  Itch50Context ctx;
  const uint64_t before = wp::testing::allocations();
  size_t at = 0;
  do {
    size_t used = 0;
    decoder.decode_frames(file.data() + at, file.size() - at, out.data(), out.size(), &used, ctx);
    at += used;
  } while (decoder.end() == ItchFileEnd::kNone);
  const uint64_t after = wp::testing::allocations();
  CHECK(after == before);
  CHECK(decoder.counters().messages > 4000);
}

}  // namespace
}  // namespace wp::feed
