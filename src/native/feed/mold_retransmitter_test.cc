// SPDX-License-Identifier: Apache-2.0
// Requests and what comes of each, by the core; then one over loopback.
#include "feed/mold_retransmitter.h"

#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "core/error.h"
#include "feed/itch_file.h"

namespace wp::feed {
namespace {

// Ten messages of 100 bytes and one that is nearly a packet; message n is filled with n.
std::vector<uint8_t> file_of(size_t messages) {
  std::vector<uint8_t> out;
  for (size_t n = 0; n < messages; n++) {
    const size_t length = n == 10 ? 1'000 : 100;
    out.push_back(static_cast<uint8_t>(length >> 8));
    out.push_back(static_cast<uint8_t>(length));
    out.insert(out.end(), length, static_cast<uint8_t>(n));
  }
  return out;
}

struct Fixture {
  std::vector<uint8_t> file = file_of(200'000);
  std::shared_ptr<MessageLog> log = std::make_shared<MessageLog>(
      std::make_shared<ItchFileSource>(std::span<const uint8_t>(file)), MessageLog::kLeastBytes);
  PublishScheduleOptions stream;
  std::array<Counter, kRetransmitCounters> counters{};
  std::vector<uint8_t> out = std::vector<uint8_t>(2 * 65'507);

  void publish(uint64_t n) {
    while (log->end() < n) log->append();
    log->publish(n);
  }
  uint64_t count(RetransmitCounter which) const { return counters[which].value(); }

  // "first+count" of the answer, "" without one.
  std::string ask(MoldRetransmitter& core, const std::string& session, uint64_t first,
                  uint16_t messages, int64_t now = 1'000'000'000) {
    uint8_t request[kMoldHeaderSize];
    mold_encode_request({mold_session(session), first, messages}, request);
    if (!core.admit(request, sizeof request, now)) return "";
    const size_t n = core.answer(request, out.data());
    if (n == 0) return "";
    CHECK(n <= 1'400);
    CHECK(mold_blocks_complete(out.data(), n));
    CHECK(std::equal(out.begin(), out.begin() + 10, mold_session(session).begin()));
    return std::to_string(net::load_be64(out.data() + 10)) + "+" +
           std::to_string(net::load_be16(out.data() + 18));
  }
  MoldRetransmitter core(const RetransmitOptions& o = {}) {
    return MoldRetransmitter(o, log, StreamNumbers(stream), counters.data());
  }
};

TEST_CASE("answers are whole messages, at most a packet of them") {
  Fixture f;
  MoldRetransmitter core = f.core();
  f.publish(50);
  CHECK(f.ask(core, "WIREPATH", 1, 3) == "1+3");
  CHECK(f.out[22] == 0);
  CHECK(f.out[20 + 2 * 102 + 2] == 2);
  CHECK(f.ask(core, "WIREPATH", 1, 1'000) == "1+10");  // the eleventh does not fit any more
  CHECK(f.ask(core, "WIREPATH", 11, 60'000) == "11+4");
  CHECK(f.ask(core, "WIREPATH", 49, 10) == "49+2");  // no more are published
  CHECK(f.ask(core, "WIREPATH", 51, 1) == "");
  CHECK(f.count(kRetransmitNotYet) == 1);
  CHECK(f.ask(core, "OTHER", 1, 1) == "");
  CHECK(f.ask(core, "WIREPATH", 0, 1) == "");
  CHECK(f.count(kRetransmitUnknownSession) == 2);
  CHECK(f.ask(core, "WIREPATH", 1, 0) == "");
  const uint8_t shorter[19]{};
  CHECK_FALSE(core.admit(shorter, sizeof shorter, 0));
  CHECK(f.count(kRetransmitMalformed) == 2);
  CHECK(f.count(kRetransmitMessages) == 3 + 10 + 4 + 2);
  CHECK(f.count(kRetransmitRequests) == 9);
}

TEST_CASE("what is not kept any more is not answered, and what is left of a range is") {
  Fixture f;
  MoldRetransmitter core = f.core();
  f.publish(200'000);
  const uint64_t begin = f.log->begin();
  REQUIRE(begin > 100);
  CHECK(f.ask(core, "WIREPATH", 1, 10) == "");
  CHECK(f.count(kRetransmitGone) == 1);
  CHECK(f.ask(core, "WIREPATH", begin - 1, 5) == std::to_string(begin + 1) + "+3");
  CHECK(f.count(kRetransmitPartlyGone) == 1);
  CHECK(f.ask(core, "WIREPATH", begin + 1, 2) == std::to_string(begin + 1) + "+2");
}

TEST_CASE("answers stay within the numbers that were asked for") {
  Fixture f;
  f.stream.epochs = {{20, "WIREPATH", 1, false, false}, {40, "NEXT", 1, false, true}};
  MoldRetransmitter core = f.core();
  f.publish(15);
  CHECK(f.ask(core, "WIREPATH", 14, 9) == "14+2");
  CHECK(f.ask(core, "NEXT", 1, 9) == "");
  f.publish(60);
  CHECK(f.ask(core, "WIREPATH", 14, 9) == "14+7");  // of the newer numbers: 34 is message 33
  CHECK(f.out[22] == 33);
  CHECK(f.ask(core, "NEXT", 19, 9) == "19+2");
  CHECK(f.out[22] == 58);
}

TEST_CASE("limited, lost and silent") {
  Fixture f;
  f.publish(50);
  RetransmitOptions o;
  o.rate = 10;
  o.rate_burst = 2;
  MoldRetransmitter limited = f.core(o);
  int answered = 0;
  for (int i = 0; i <= 100; i++)
    answered += f.ask(limited, "WIREPATH", 1, 1, 1'000'000'000 + i * 10'000'000) != "";
  CHECK(answered == 12);  // two at once, then ten in a second
  CHECK(f.count(kRetransmitLimited) == 89);
  o = {};
  o.loss = 0.5;
  MoldRetransmitter lossy = f.core(o);
  answered = 0;
  for (int i = 0; i < 1'000; i++) answered += f.ask(lossy, "WIREPATH", 1, 1) != "";
  CHECK(answered > 400);
  CHECK(f.count(kRetransmitLost) == 1'000u - static_cast<unsigned>(answered));
  o = {};
  o.silent = true;
  MoldRetransmitter silent = f.core(o);
  CHECK(f.ask(silent, "WIREPATH", 1, 1) == "");
  CHECK(f.count(kRetransmitSilenced) == 1);
}

TEST_CASE("a server answers to where the request came from, after its delay") {
  Fixture f;
  f.publish(50);
  RetransmitOptions o;
  o.delay_ns = 20'000'000;
  RetransmitServer server(o, f.log, StreamNumbers(f.stream));
  server.start();
  const int fd = socket(AF_INET, SOCK_DGRAM, 0);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(server.port());
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  timeval patience{5, 0};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  uint8_t request[kMoldHeaderSize];
  mold_encode_request({mold_session("WIREPATH"), 7, 3}, request);
  const int64_t asked = server_clock();
  sendto(fd, request, sizeof request, 0, reinterpret_cast<sockaddr*>(&to), sizeof to);
  uint8_t answer[2'000];
  const ssize_t n = recv(fd, answer, sizeof answer, 0);
  CHECK(server_clock() - asked >= o.delay_ns);
  close(fd);
  CHECK(n == 20 + 3 * 102);
  CHECK(net::load_be64(answer + 10) == 7);
  server.stop();
  CHECK(server.stats()[kRetransmitAnswered].second == 1);
  CHECK(server.stats()[kRetransmitBytes].second == static_cast<uint64_t>(n));
}

TEST_CASE("unusable options of a server are refused by name") {
  Fixture f;
  const auto refusal = [&](auto change) {
    RetransmitOptions o;
    change(o);
    try {
      RetransmitServer server(o, f.log, StreamNumbers(f.stream));
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  using O = RetransmitOptions;
  CHECK(refusal([](O&) {}) == "");
  CHECK(refusal([](O& o) { o.rate = -1; }).starts_with("retransmit.rate"));
  CHECK(refusal([](O& o) { o.rate_burst = 0; }).starts_with("retransmit.rate_burst"));
  CHECK(refusal([](O& o) { o.delay_ns = -1; }).starts_with("retransmit.delay_ns"));
  CHECK(refusal([](O& o) { o.loss = 1.1; }).starts_with("retransmit.loss"));
  CHECK(refusal([](O& o) { o.max_payload = 71; }).starts_with("retransmit.max_payload"));
  CHECK(refusal([](O& o) { o.address.host = "here"; }).starts_with("retransmit = \"here:0\""));
  CHECK(refusal([](O& o) { o.address.host = "192.0.2.77"; }).find("ip address") !=
        std::string::npos);
}

}  // namespace
}  // namespace wp::feed
