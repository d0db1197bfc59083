/* SPDX-License-Identifier: Apache-2.0
 *
 * Two lossy lines through arbiter and recovery: with a server of retransmissions
 * everything arrives once and in order, without one exactly what both lines lost
 * is abandoned, in bounded time and memory. WIREPATH_LOSS_MESSAGES: how many
 * messages (1,000,000).
 */
#include <doctest/doctest.h>

#include <cstdint>
#include <cstdlib>
#include <set>
#include <vector>

#include "feed/alloc_counter.h"
#include "feed/arbiter.h"
#include "feed/lossy_lines.h"
#include "feed/mold_framer.h"
#include "feed/recovery.h"
#include "feed/recovery_requests.h"

namespace wp::feed {
namespace {

using testing::Arrival;
using testing::LossOptions;
using testing::LossyLines;

constexpr uint32_t kRecoveryLine = 2;
constexpr int64_t kRoundTrip = 60'000;

enum class Server { kNone, kAnswers, kSilent };

struct Range {
  uint64_t first, last;
};

/* What a user has: arbiter, recovery, and here their network. */
struct Run {
  Run(Server server_kind, const ArbiterOptions& options, const LossOptions& loss)
      : server(server_kind), lines(loss), arbiter(options), recovery(limits()), loss_options(loss) {
    opened.reserve(1 << 20);
    abandoned.reserve(1 << 20);
    requests.reserve(1 << 16);
  }

  static RecoveryOptions limits() {
    RecoveryOptions o = MoldRequests().limits();
    o.hold_ns = 100'000;
    o.retry_ns = 500'000;
    o.max_retry_ns = 4'000'000;
    o.max_attempts = 6;
    o.deadline_ns = 20'000'000;
    return o;
  }

  // The arbiter's sink.
  void message(const MessageInfo& info, const uint8_t* data, size_t length) {
    in_order &= info.seq > latest;
    latest = info.seq;
    intact &=
        length == testing::kMessageBytes && net::load_be64(data) == testing::message_of(info.seq);
    ++delivered;
    late += (info.flags & WP_FLAG_LATE) != 0;
  }
  void gap(uint32_t, uint64_t first, uint64_t last) { opened.push_back({first, last}); }
  void gap_abandoned(uint32_t, uint64_t first, uint64_t last, AbandonReason) {
    abandoned.push_back({first, last});
  }
  void heartbeat(uint32_t, uint64_t, uint16_t) {}
  void end_of_session(uint32_t, uint64_t) {}
  void session_change(uint32_t, const SessionName&, const SessionName&) {}
  void reset(uint32_t, uint64_t, ResetCause) { ++resets; }

  // Recovery's.
  void request(const RecoveryRequest& r) { requests.push_back(r); }
  void give_up(uint32_t unit, uint64_t first, uint64_t last, AbandonReason reason) {
    arbiter.abandon(unit, first, last, reason, *this);
  }

  void poll(int64_t now) {
    requests.clear();
    recovery.poll(now, arbiter, *this);
    for (const RecoveryRequest& r : requests) serve(r, now);
  }

  // As the specification has it: as many messages as one packet holds.
  void serve(const RecoveryRequest& r, int64_t now) {
    uint8_t bytes[RequestEncoder::kMaxBytes];
    const size_t size = MoldRequests().encode(r, arbiter.unit(0).session(), bytes);
    MoldRequest wire;
    REQUIRE(mold_decode_request(bytes, size, &wire));
    if (server == Server::kSilent || lines.random().below(5) == 0) return;
    const uint64_t fits = (1400 - kMoldHeaderSize) / (2 + testing::kMessageBytes);
    const uint64_t known = loss_options.messages + 1 - wire.sequence;
    const uint64_t count = std::min({uint64_t{wire.count}, fits, known});
    lines.answer({now + kRoundTrip, kRecoveryLine, wire.sequence, count});
  }

  void run() {
    std::vector<uint8_t> packet(2000);
    Arrival arrival{};
    int64_t now = 0;
    while (true) {
      const bool more = lines.next(&arrival);
      if (!more && (server == Server::kNone || recovery.ranges() == 0)) break;
      // Timers that run out before the next packet.
      for (int64_t due; (due = deadline()) < (more ? arrival.time : INT64_MAX);) {
        now = std::max(now, due);
        step(now);
        if (!more) break;
      }
      if (!more) continue;
      now = std::max(now, arrival.time);
      const size_t n = testing::numbered_packet(packet.data(), arrival.first, arrival.count);
      const uint64_t before = wp::testing::allocations();
      arbiter.on_packet(arrival.line, packet.data(), n, arrival.time, *this);
      allocated += wp::testing::allocations() - before;
      step(now);
      for (const SequenceRange& gap : arbiter.unit(0).assembler().gaps()) {
        oldest_gap = std::max(oldest_gap, now - gap.since);
        break;  // the first is the oldest
      }
    }
    arbiter.on_time(INT64_MAX - 1, *this);
  }
  int64_t deadline() const {
    const int64_t held = arbiter.deadline();
    return server == Server::kNone ? held : std::min(held, recovery.deadline());
  }
  void step(int64_t now) {
    const uint64_t before = wp::testing::allocations();
    arbiter.on_time(now, *this);
    allocated += wp::testing::allocations() - before;
    // As a worker would: now and then, and when recovery asked for it.
    if (server == Server::kNone || now < std::min(next_poll, recovery.deadline())) return;
    poll(now);
    next_poll = now + 10'000;
  }

  Server server;
  LossyLines lines;
  Arbiter<MoldFramer> arbiter;
  Recovery recovery;
  LossOptions loss_options;
  std::vector<Range> opened, abandoned;
  std::vector<RecoveryRequest> requests;
  uint64_t delivered = 0, latest = 0, late = 0, resets = 0, allocated = 0;
  int64_t oldest_gap = 0, next_poll = 0;
  bool in_order = true, intact = true;
};

LossOptions loss() {
  LossOptions o;
  const char* const wanted = std::getenv("WIREPATH_LOSS_MESSAGES");
  if (wanted != nullptr) o.messages = std::strtoull(wanted, nullptr, 10);
  return o;
}

ArbiterOptions arbiter_options(bool in_order, int64_t hold_ns) {
  ArbiterOptions o;
  o.recovery_lines = 1;
  o.in_order = in_order;
  o.hold_ns = hold_ns;
  o.hold_messages = 32'768;
  o.hold_bytes = 1 << 20;
  o.next_sequence = 1;
  return o;
}

uint64_t size_of(const std::vector<Range>& ranges) {
  uint64_t sum = 0;
  for (const Range& r : ranges) sum += r.last - r.first + 1;
  return sum;
}

/* Abandoned is what no line ever brought: nothing else, nothing twice. */
void check_injected(const Run& run) {
  uint64_t never = 0;
  for (uint64_t seq = 1; seq <= run.loss_options.messages; ++seq) never += !run.lines.arrived(seq);
  CHECK(never > 100);
  CHECK(size_of(run.abandoned) == never);
  uint64_t wrong = 0;
  for (const Range& r : run.abandoned) {
    for (uint64_t seq = r.first; seq <= r.last; ++seq) wrong += run.lines.arrived(seq);
  }
  CHECK(wrong == 0);
  CHECK(run.delivered == run.loss_options.messages - never);
  CHECK(size_of(run.opened) >= never);
}

void check_sums(const Run& run) {
  CHECK(run.intact);
  CHECK(run.resets == 0);
  CHECK(run.allocated == 0);
  const UnitCounters c = run.arbiter.counters();
  CHECK(c.delivered + c.held + c.gap_open + c.abandoned == run.loss_options.messages);
  for (uint32_t k = 0; k < 2; ++k) {
    const LineCounters& line = run.arbiter.lines()[k].counters;
    CHECK(line.messages == line.won + line.duplicates + line.too_late);
    CHECK(line.expected <= run.loss_options.messages);
    // Packets hold 4.5 messages in the mean.
    CHECK(static_cast<double>(line.missing) ==
          doctest::Approx(4.5 * static_cast<double>(run.lines.lost_packets(k))).epsilon(0.1));
  }
}

TEST_CASE("lossy lines and a server: everything is delivered once and in order") {
  Run run(Server::kAnswers, arbiter_options(true, 1'000'000'000), loss());
  run.run();
  check_sums(run);
  CHECK(run.in_order);
  CHECK(run.delivered == run.loss_options.messages);
  CHECK(run.abandoned.empty());
  CHECK(run.recovery.counters().continued > 0);  // answers were too small
  CHECK(run.recovery.counters().retries > 0);    // and some were lost
  CHECK(run.recovery.counters().abandoned == 0);
  CHECK(run.arbiter.counters().recovered > 0);
}

TEST_CASE("lossy lines and a silent server: gaps are abandoned in time, the feed is alive") {
  Run run(Server::kSilent, arbiter_options(true, 1'000'000'000), loss());
  run.run();
  check_sums(run);
  check_injected(run);
  CHECK(run.in_order);
  CHECK(run.recovery.counters().requests > run.recovery.counters().ranges_abandoned);
  CHECK(run.oldest_gap <= Run::limits().deadline_ns + 100'000);
  CHECK(run.arbiter.counters().held_peak <= 32'768);
}

TEST_CASE("lossy lines alone, in order: exactly what both lost is abandoned") {
  Run run(Server::kNone, arbiter_options(true, 200'000), loss());
  run.run();
  check_sums(run);
  check_injected(run);
  CHECK(run.in_order);
  CHECK(run.arbiter.counters().held_peak < 2'000);
}

TEST_CASE("lossy lines alone, as it comes: what stays open is what both lost") {
  Run run(Server::kNone, arbiter_options(false, 0), loss());
  run.run();
  for (const SequenceRange& gap : run.arbiter.unit(0).assembler().gaps()) {
    run.abandoned.push_back({gap.first, gap.last});
  }
  check_sums(run);
  check_injected(run);
  CHECK_FALSE(run.in_order);
  CHECK(run.late > 0);
}

}  // namespace
}  // namespace wp::feed
