// SPDX-License-Identifier: Apache-2.0
// SoupBinTCP: the rules of both sides one by one, then random streams, cut anywhere, against the
// naive models, then no allocation.
#include "feed/soup_bin_tcp.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "core/error.h"
#include "feed/alloc_counter.h"
#include "feed/random.h"
#include "feed/soup_bin_tcp_differential.h"

namespace wp::feed {
namespace {

using naive::padded;
using naive::soup_packet;
using naive::SoupClientDifferential;
using naive::SoupEvent;
using naive::SoupServerDifferential;
using Events = std::vector<SoupEvent>;

constexpr int64_t kSecond = 1'000'000'000;

std::string accept_packet(const std::string& session, const std::string& next) {
  return soup_packet('A', padded(session, 10, true) + padded(next, 20, true));
}
std::string login_packet(const std::string& user, const std::string& session,
                         const std::string& next) {
  return soup_packet('L', padded(user, 6, false) + padded("pw", 10, false) +
                              padded(session, 10, true) + padded(next, 20, true));
}
SoupEvent message(uint64_t seq, const std::string& data) {
  return {"message", seq, 0, data, ""};
}

template <class D>
void agree(D& d) {
  const char* const difference = d.difference();
  INFO("differs in " << (difference == nullptr ? "" : difference));
  CHECK(difference == nullptr);
}

// A client that is logged in, its login written.
SoupClientDifferential open_client(uint64_t next = 1, const std::string& at = "1") {
  SoupClientDifferential d("", next);
  d.connected(0);
  d.write(100);
  d.on_bytes(accept_packet("DAY1", at), 100, 0);
  agree(d);
  return d;
}

TEST_CASE("the login request is laid out as the specification says") {
  SoupClientDifferential d("SESSION01", 42);
  d.connected(0);
  const std::string sent(d.client().output().begin(), d.client().output().end());
  CHECK(sent == std::string("\0\x2fLuser  secret     SESSION01                  42", 49));
  agree(d);
}

TEST_CASE("sequence numbers count from the login, whatever TCP does to the stream") {
  for (size_t piece = 1; piece < 80; piece++) {
    SoupClientDifferential d("", 1);
    d.connected(0);
    d.on_bytes(accept_packet("DAY1", "1") + soup_packet('S', "one") + soup_packet('H') +
                   soup_packet('S', "") + soup_packet('S', "three") + soup_packet('Z'),
               piece, 5);
    agree(d);
    CHECK(d.take() == Events{{"accepted", 1, 0, "DAY1", ""},
                             message(1, "one"),
                             {"heartbeat", 2, 0, "", ""},
                             message(3, "three"),
                             {"end", 4, 0, "", ""}});
    CHECK(d.client().counters().empty == 1);
    CHECK(d.client().next_sequence() == 4);
  }
}

TEST_CASE("the next connection goes on where the last one stopped") {
  SoupClientDifferential d = open_client();
  d.on_bytes(soup_packet('S', "a") + soup_packet('S', "b") + soup_packet('S', "cut").substr(0, 4),
             100, 1);
  d.disconnected();
  CHECK(d.client().state() == SoupState::kIdle);
  CHECK(d.client().counters().truncated == 1);
  d.connected(2);
  const std::string sent(d.client().output().begin(), d.client().output().end());
  CHECK(sent.substr(19) == "      DAY1" + padded("3", 20, true));
  d.take();
  SUBCASE("at the number asked for") {
    d.on_bytes(accept_packet("DAY1", "3") + soup_packet('S', "c"), 100, 3);
    CHECK(d.take() == Events{{"accepted", 3, 0, "DAY1", ""}, message(3, "c")});
  }
  SUBCASE("from before it: what came is not told again") {
    d.on_bytes(accept_packet("DAY1", "2") + soup_packet('S', "b") + soup_packet('S', "c"), 100, 3);
    CHECK(d.take() == Events{{"accepted", 2, 0, "DAY1", ""}, message(3, "c")});
    CHECK(d.client().counters().duplicates == 1);
  }
  SUBCASE("behind it: a gap") {
    d.on_bytes(accept_packet("DAY1", "9") + soup_packet('S', "i"), 100, 3);
    CHECK(d.take() ==
          Events{{"accepted", 9, 0, "DAY1", ""}, {"gap", 3, 8, "", ""}, message(9, "i")});
  }
  SUBCASE("in another session: its numbers") {
    d.on_bytes(accept_packet("DAY2", "1") + soup_packet('S', "x"), 100, 3);
    CHECK(d.take() == Events{{"session", 0, 0, "DAY1", "DAY2"},
                             {"accepted", 1, 0, "DAY2", ""},
                             message(1, "x")});
  }
  agree(d);
}

TEST_CASE("after the end of a session the current one is asked for, from its beginning") {
  SoupClientDifferential d = open_client();
  d.on_bytes(soup_packet('S', "a") + soup_packet('Z') + soup_packet('S', "after"), 100, 1);
  CHECK(d.client().counters().unexpected == 1);
  d.disconnected();
  d.connected(2);
  const std::string sent(d.client().output().begin(), d.client().output().end());
  CHECK(sent.substr(19) == std::string(29, ' ') + "1");
  d.take();
  SUBCASE("another one") {
    d.on_bytes(accept_packet("DAY2", "4"), 100, 3);
    CHECK(d.take() == Events{{"session", 0, 0, "DAY1", "DAY2"},
                             {"accepted", 4, 0, "DAY2", ""},
                             {"gap", 1, 3, "", ""}});
  }
  SUBCASE("still the same: nothing twice") {
    d.on_bytes(accept_packet("DAY1", "1") + soup_packet('S', "a"), 100, 3);
    CHECK(d.take() == Events{{"accepted", 1, 0, "DAY1", ""}});
  }
  agree(d);
}

TEST_CASE("a login is refused, or never answered") {
  SoupClientDifferential d("OLD", 7);
  d.connected(0);
  SUBCASE("refused") {
    d.on_bytes(soup_packet('J', "S"), 1, 1);
    CHECK(d.take() == Events{{"rejected", 0, 0, "S", ""}});
    CHECK(d.client().state() == SoupState::kRejected);
    CHECK(d.client().deadline() == INT64_MAX);
  }
  SUBCASE("heartbeats are no answer") {
    for (int64_t t = 1; t <= 14; t++) d.on_bytes(soup_packet('H'), 3, t * kSecond);
    d.on_time(15 * kSecond - 1);
    CHECK(d.client().state() == SoupState::kLogin);
    CHECK(d.client().deadline() == 15 * kSecond);
    d.on_time(15 * kSecond);
    CHECK(d.take().back() == SoupEvent{"lost", 0, 0, "login", ""});
  }
  SUBCASE("an answer without a usable number is none") {
    for (const char* bad : {"", "0", "1x", "-1", "1 2", "18446744073709551616"})
      d.on_bytes(accept_packet("OLD", bad), 100, 1);
    d.on_bytes(soup_packet('A', "short"), 100, 1);
    CHECK(d.client().counters().malformed == 7);
    CHECK(d.client().state() == SoupState::kLogin);
    d.on_bytes(accept_packet("OLD", "18446744073709551615"), 100, 1);
    CHECK(d.client().state() == SoupState::kOpen);
  }
  agree(d);
}

TEST_CASE("heartbeats when idle, and a silent server is dead after 15 s") {
  SoupClientDifferential d = open_client();
  d.take();
  CHECK(d.client().deadline() == kSecond);
  d.on_time(kSecond - 1);
  CHECK(d.client().output().empty());
  d.on_time(kSecond);
  CHECK(d.client().output().size() == 3);
  d.on_time(5 * kSecond);  // not written yet: another one would say no more
  CHECK(d.client().output().size() == 3);
  d.write(2);
  CHECK(d.client().output().size() == 1);
  d.write(1);
  d.on_time(5 * kSecond);
  CHECK(d.client().output().size() == 3);
  d.write(3);
  d.on_time(15 * kSecond - 1);
  CHECK(d.client().state() == SoupState::kOpen);
  d.on_time(15 * kSecond);
  CHECK(d.take() == Events{{"lost", 0, 0, "silence", ""}});
  CHECK(d.client().counters().deaths == 1);
  agree(d);
}

TEST_CASE("debug, unsequenced, unknown and misplaced packets leave the sequence alone") {
  SoupClientDifferential d("", 0);
  d.connected(0);
  d.on_bytes(soup_packet('+', "hello") + soup_packet('S', "early") + accept_packet("D", "50") +
                 soup_packet('U', "u") + soup_packet('?') + soup_packet('R') +
                 std::string("\0\0", 2) + soup_packet('H', "x") + soup_packet('S', "m"),
             7, 1);
  CHECK(d.take() == Events{{"debug", 0, 0, "hello", ""},
                           {"accepted", 50, 0, "D", ""},
                           {"unsequenced", 0, 0, "u", ""},
                           message(50, "m")});
  const SoupCounters& c = d.client().counters();
  CHECK(c.unexpected == 2);
  CHECK(c.unknown == 1);
  CHECK(c.malformed == 2);
  d.logout(2);
  CHECK(d.client().state() == SoupState::kEnded);
  agree(d);
}

TEST_CASE("the server takes a login, hears the client and misses it") {
  SoupServerDifferential d;
  d.connected(0);
  d.on_bytes(login_packet("user", "DAY1", "7"), 5, 0);
  CHECK(d.events().back() == SoupEvent{"login", 7, 0, "user/pw", "DAY1"});
  CHECK_FALSE(d.server().heartbeat_due(kSecond - 1));
  CHECK(d.server().heartbeat_due(kSecond));
  d.server().spoke(kSecond);
  CHECK_FALSE(d.server().heartbeat_due(kSecond + 1));
  d.on_bytes(login_packet("user", "DAY1", "7") + soup_packet('R') + soup_packet('U', "x"), 3,
             10 * kSecond);
  CHECK(d.server().counters().unexpected == 1);
  d.on_time(25 * kSecond - 1);
  CHECK(d.server().state() == SoupState::kOpen);
  d.on_time(25 * kSecond);
  CHECK(d.events().back() == SoupEvent{"lost", 0, 0, "silence", ""});
  agree(d);
}

TEST_CASE("what the server writes is what the client reads") {
  uint8_t bytes[64];
  SoupClientDifferential d("", 3);
  d.connected(0);
  const size_t n = soup_encode_accepted(bytes, "DAY1", UINT64_MAX);
  CHECK(n == kSoupAcceptedSize);
  d.on_bytes(std::string(bytes, bytes + n), 100, 0);
  CHECK(d.client().next_sequence() == UINT64_MAX);
  agree(d);
  CHECK(std::string(bytes, bytes + soup_encode_rejected(bytes, 'A')) == soup_packet('J', "A"));
  SoupServerDifferential server;
  server.connected(0);
  server.on_bytes(std::string(bytes, bytes + soup_encode_login(bytes, "no", "", "", UINT64_MAX)),
                  100, 0);
  CHECK(server.events().back() == SoupEvent{"login", UINT64_MAX, 0, "no/", ""});
  CHECK(server.server().state() == SoupState::kRejected);
  agree(server);
}

TEST_CASE("options that cannot be sent are refused by name") {
  SoupOptions o;
  o.username = "toolong";
  CHECK_THROWS_WITH_AS(SoupBinTcp{o}, doctest::Contains("username"), Error);
  o = {};
  o.password =
      "sp\xe9"
      "cial";
  CHECK_THROWS_WITH_AS(SoupBinTcp{o}, doctest::Contains("password"), Error);
  o = {};
  o.timeout_ns = o.heartbeat_ns;
  CHECK_THROWS_WITH_AS(SoupBinTcp{o}, doctest::Contains("timeout_ns"), Error);
}

// A packet that is right more often than not, of either side.
std::string some_packet(Random& random, bool client) {
  static const std::string kServers = "SSSSSSUHA+JZ", kClients = "LLRRRRU+OR";
  const std::string& types = client ? kServers : kClients;
  const char type = random.below(20) == 0 ? static_cast<char>(random.below(256))
                                          : types[random.below(types.size())];
  if (type == 'A' && random.below(8) != 0)
    return accept_packet(random.below(4) ? "DAY1" : "DAY2", std::to_string(random.below(6)));
  if (type == 'L' && random.below(8) != 0)
    return login_packet(random.below(4) ? "user" : "no", "DAY1", std::to_string(random.below(6)));
  const bool holds = type == 'S' || type == 'U' || type == '+' || random.below(8) == 0;
  const size_t size = type == 'J' ? 1 : holds ? random.below(random.below(50) ? 40 : 70'000) : 0;
  if (size > kSoupMaxPayload) return std::string("\0\0", 2);
  return soup_packet(type, std::string(size, static_cast<char>('a' + random.below(26))));
}

TEST_CASE("random streams against the naive client") {
  for (uint64_t seed = 1; seed <= 60; seed++) {
    Random random(seed);
    SoupClientDifferential d(random.below(2) ? "DAY1" : "", random.below(4));
    int64_t now = 0;
    for (int step = 0; step < 300; step++) {
      now += static_cast<int64_t>(random.below(random.below(20) ? 500'000'000 : 20 * kSecond));
      const uint64_t what = random.below(100);
      if (what < 4 || (step == 0 && what < 90))
        d.connected(now);
      else if (what < 6)
        d.disconnected();
      else if (what < 7)
        d.logout(now);
      else if (what < 30)
        d.on_time(now);
      else if (what < 40)
        d.write(random.below(60));
      else
        d.on_bytes(some_packet(random, true), 1 + random.below(60), now);
      const char* const difference = d.difference();
      INFO("seed " << seed << " step " << step << ": "
                   << (difference == nullptr ? "" : difference));
      REQUIRE(difference == nullptr);
    }
  }
}

TEST_CASE("random streams against the naive server") {
  for (uint64_t seed = 1; seed <= 60; seed++) {
    Random random(seed);
    SoupServerDifferential d;
    int64_t now = 0;
    for (int step = 0; step < 300; step++) {
      now += static_cast<int64_t>(random.below(random.below(20) ? 500'000'000 : 20 * kSecond));
      const uint64_t what = random.below(100);
      if (what < 6 || step == 0)
        d.connected(now);
      else if (what < 30)
        d.on_time(now);
      else
        d.on_bytes(some_packet(random, false), 1 + random.below(60), now);
      const char* const difference = d.difference();
      INFO("seed " << seed << " step " << step << ": "
                   << (difference == nullptr ? "" : difference));
      REQUIRE(difference == nullptr);
    }
  }
}

struct Counting {
  uint64_t messages = 0;
  void login_accepted(std::string_view, uint64_t) {}
  void login_rejected(char) {}
  void session_change(std::string_view, std::string_view) {}
  void gap(uint64_t, uint64_t) {}
  void message(uint64_t, const uint8_t*, size_t, int64_t) { messages++; }
  void unsequenced(const uint8_t*, size_t, int64_t) {}
  void heartbeat(uint64_t) {}
  void end_of_session(uint64_t) {}
  void debug(const uint8_t*, size_t) {}
  void connection_lost(SoupLoss) {}
};

TEST_CASE("no allocation once logged in") {
  std::string stream = accept_packet("DAY1", "1");
  for (int i = 0; i < 1000; i++) stream += soup_packet('S', std::string(36, 'A'));
  SoupBinTcp client;
  Counting sink;
  client.connected(0);
  const auto* bytes = reinterpret_cast<const uint8_t*>(stream.data());
  const uint64_t before = wp::testing::allocations();
  for (size_t at = 0; at < stream.size(); at += 1448)
    client.on_bytes(bytes + at, std::min<size_t>(1448, stream.size() - at), 1, sink);
  client.on_time(2 * kSecond, sink);
  CHECK(sink.messages == 1000);
  CHECK(wp::testing::allocations() == before);
}

}  // namespace
}  // namespace wp::feed
