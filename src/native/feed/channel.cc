// SPDX-License-Identifier: Apache-2.0
#include "feed/channel.h"

#include <algorithm>

#include "core/error.h"
#include "feed/channel_codecs.h"
#include "feed/channel_of.h"
#include "feed/pillar_codec.h"

namespace wp::feed {
namespace {

// A datagram is no longer; a snapshot's message neither.
constexpr size_t kMaxMail = 65'535;
constexpr int64_t kSnapshotEvery = 1'000'000;

enum Cell : size_t {
  kPackets,
  kDelivered,
  kRingFull,
  kFiltered,
  kUnknown,
  kMalformedMessages,
  kMalformedPackets,
  kDuplicates,
  kLate,
  kRecovered,
  kGaps,
  kGapMessages,
  kMissing,
  kHeartbeats,
  kWrongSession,
  kRequests,
  kWirePackets,  // of packets: came as frames, not as replies of a server
  kUnknownUnit,
  kStale,
  kDoubted,
  kIgnored,
  kMessages,  // out of the arbiter, into the decoder
  kHeld,
  kDecoded,  // of messages: understood
  kRecords,  // made of them, of which some were not wanted or found no room
  kFilteredRecords,
  kCells
};
constexpr std::array<const char*, 26> kNames{"packets",
                                             "delivered",
                                             "drop.ring_full",
                                             "filtered",
                                             "drop.unknown",
                                             "drop.malformed_message",
                                             "drop.malformed_packet",
                                             "duplicates",
                                             "late",
                                             "recovered",
                                             "gaps",
                                             "gap_messages",
                                             "missing",
                                             "heartbeats",
                                             "drop.wrong_session",
                                             "requests",
                                             "wire_packets",
                                             "drop.unknown_unit",
                                             "drop.stale",
                                             "drop.doubted",
                                             "ignored",
                                             "messages",
                                             "held",
                                             "decoded",
                                             "records",
                                             "filtered_records"};
static_assert(kNames.size() == kCells);

constexpr const char* kProtocols = "one of itch, iex, pitch, cme, pillar";

void check_snapshot_loop(const ChannelOptions& o) {
  if (o.protocol != "cme")
    throw config_error("recovery", "\"cme_snapshot\"",
                       "of protocol \"cme\", and this is \"" + o.protocol + "\"");
  if (o.encoder != nullptr)
    throw config_error("recovery", "requests beside the snapshot loop",
                       "one of them: CME's channels ask for nothing");
  if (o.recovery_lines.empty())
    throw config_error("recovery_lines", "[]",
                       "the flows of the channel's snapshot feeds with recovery \"cme_snapshot\"");
  if (!o.arbiter.in_order)
    throw config_error("in_order", "false", "true with recovery \"cme_snapshot\"");
  if (o.filter.types)
    throw config_error("types", std::to_string(o.filter.types->size()) + " types",
                       "left out with recovery \"cme_snapshot\": an instrument's numbers run over "
                       "all templates");
}

}  // namespace

Channel::Channel(ChannelOptions options)
    : options_(std::move(options)),
      mail_(options_.mail_bytes),
      requests_(options_.requests),
      telemetry_(Telemetry::process()) {}

Channel::~Channel() {
  if (cells_ != nullptr) telemetry_.release(cells_);
}

void Channel::bind(RecordOutput* output, const std::string& stage) {
  if (output_ != nullptr)
    throw Error(ErrorKind::kBusy, "the channel " + options_.name + " is one of stage " + stage_ +
                                      " already: make another channel");
  cells_ = telemetry_.counters("feed/" + stage + "/" + options_.name, kNames);
  output_ = output;
  stage_ = stage;
}

void Channel::unbind(const RecordOutput* output) noexcept {
  if (output_ != output) return;
  output_ = nullptr;
  telemetry_.release(cells_);
  cells_ = nullptr;
}

void Channel::prepare_snapshot(size_t units, size_t lines, size_t types) {
  snapshot_.units.resize(units);
  for (UnitSnapshot& unit : snapshot_.units) unit.gaps.reserve(options_.arbiter.max_gaps + 1);
  snapshot_.lines.resize(lines);
  snapshot_.decoded.by_type.resize(types);
  snapshot_.resolved.reserve(options_.filter.symbols ? options_.filter.symbols->size() : 0);
  snapshot_.abandoned.reserve(kAbandonedKept);
  if (options_.snapshot_loop) snapshot_.loop.stale.reserve(kStaleTold);
}

void Channel::note_abandoned(uint32_t unit, uint64_t first, uint64_t last,
                             AbandonReason reason) noexcept {
  abandoned_[abandoned_total_++ % kAbandonedKept] = {first, last, unit, reason};
}

void Channel::publish(int64_t now, bool must) noexcept {
  std::unique_lock lock(snapshot_mutex_, std::defer_lock);
  if (must) {
    lock.lock();
  } else if ((now >= snapshot_at_ && now - snapshot_at_ < kSnapshotEvery) || !lock.try_lock()) {
    return;  // a clock that was set back does not stop the snapshots
  }
  snapshot_at_ = now;
  fill(snapshot_, now);
  snapshot_.mail = mail_counters_;
  if (snapshot_.abandoned_total != abandoned_total_) {
    snapshot_.abandoned_total = abandoned_total_;
    snapshot_.abandoned.clear();
    const uint64_t kept = std::min<uint64_t>(abandoned_total_, kAbandonedKept);
    for (uint64_t i = abandoned_total_ - kept; i < abandoned_total_; ++i)
      snapshot_.abandoned.push_back(abandoned_[i % kAbandonedKept]);
  }
  if (cells_ == nullptr) return;
  UnitCounters units;
  for (size_t i = 0; i < snapshot_.used; ++i) units += snapshot_.units[i].counters;
  LineCounters lines;
  uint64_t wire_packets = 0;
  const size_t wired = options_.lines.size() + options_.recovery_lines.size();
  for (size_t i = 0; i < snapshot_.lines.size(); ++i) {
    const LineCounters& c = snapshot_.lines[i];
    if (i < wired) wire_packets += c.packets;
    lines.unknown_unit += c.unknown_unit;
    lines.stale += c.stale;
    lines.doubted += c.doubted;
    lines.ignored += c.ignored;
    lines.unsequenced_messages += c.unsequenced_messages;
    lines.packets += c.packets;
    lines.malformed += c.malformed;
    lines.duplicates += c.duplicates + c.too_late;
    lines.heartbeats += c.heartbeats;
    lines.wrong_session += c.wrong_session;
  }
  const DecodeCounters& d = snapshot_.decoded;
  cells_[kPackets].set(lines.packets);
  cells_[kDelivered].set(d.delivered);
  cells_[kRingFull].set(d.ring_full);
  cells_[kFiltered].set(d.filtered + d.filtered_records);
  cells_[kUnknown].set(d.unknown + d.other_schema);
  cells_[kMalformedMessages].set(d.malformed);
  cells_[kMalformedPackets].set(lines.malformed);
  cells_[kDuplicates].set(lines.duplicates);
  cells_[kLate].set(units.late);
  cells_[kRecovered].set(units.recovered);
  cells_[kGaps].set(units.gaps);
  cells_[kGapMessages].set(units.gap_messages);
  cells_[kMissing].set(units.gap_open + units.abandoned);
  cells_[kHeartbeats].set(lines.heartbeats);
  cells_[kWrongSession].set(lines.wrong_session);
  cells_[kRequests].set(snapshot_.recovery.requests);
  cells_[kWirePackets].set(wire_packets);
  cells_[kUnknownUnit].set(lines.unknown_unit);
  cells_[kStale].set(lines.stale);
  cells_[kDoubted].set(lines.doubted);
  cells_[kIgnored].set(lines.ignored);
  cells_[kMessages].set(units.delivered + lines.unsequenced_messages);
  cells_[kHeld].set(units.held);
  cells_[kDecoded].set(d.messages);
  cells_[kRecords].set(d.records);
  cells_[kFilteredRecords].set(d.filtered_records);
}

ChannelSnapshot Channel::snapshot() const {
  const std::lock_guard lock(snapshot_mutex_);
  ChannelSnapshot out = snapshot_;
  out.mail.replies_refused = replies_refused_.load(std::memory_order_relaxed);
  out.mail.injected_refused = injected_refused_.load(std::memory_order_relaxed);
  return out;
}

bool Channel::take_request(ChannelRequest* out) {
  const std::lock_guard lock(control_mutex_);
  return requests_.take(out);
}

bool Channel::post(const MailHeader& header, const uint8_t* data, size_t n) {
  const std::lock_guard lock(control_mutex_);
  return mail_.put(header, data, n);
}

// Rare and small: where even these find no room, nobody takes the mail in.
void Channel::post_or_throw(const MailHeader& header, const char* what) {
  if (!post(header, nullptr, 0))
    throw Error(ErrorKind::kBusy, std::string(what) + ": the mailbox of channel " + options_.name +
                                      " is full: is its worker running?");
}

bool Channel::reply(const uint8_t* p, size_t n, int64_t recv_time) {
  if (options_.encoder == nullptr)
    throw config_error("recovery", "\"\"", "set for a channel that is given replies");
  if (n > kMaxMail) throw config_error("packet", std::to_string(n) + " bytes", "a datagram");
  if (post({Mail::kReply, 0, 0, 0, recv_time}, p, n)) return true;
  replies_refused_.fetch_add(1, std::memory_order_relaxed);
  return false;
}

void Channel::refuse(uint32_t unit, uint64_t first, uint64_t last) {
  post_or_throw({Mail::kRefuse, unit, first, last, 0}, "refuse");
}

void Channel::pause(int64_t until) {
  post_or_throw({Mail::kPause, 0, 0, 0, until}, "pause");
}

void Channel::hold(int64_t until) {
  post_or_throw({Mail::kHold, 0, 0, 0, until}, "hold");
}

void Channel::skip_to(uint32_t unit, uint64_t next) {
  post_or_throw({Mail::kSkip, unit, next, 0, 0}, "skip_to");
}

bool Channel::inject(uint32_t unit, const uint8_t* p, size_t n, uint64_t seq, int64_t recv_time) {
  if (n > kMaxMail) throw config_error("message", std::to_string(n) + " bytes", "at most 65535");
  if (post({Mail::kInject, unit, seq, 0, recv_time}, p, n)) return true;
  injected_refused_.fetch_add(1, std::memory_order_relaxed);
  return false;
}

std::unique_ptr<Channel> make_channel(ChannelOptions o) {
  if (o.lines.empty()) throw config_error("lines", "[]", "the flow of one line at least");
  if (o.recovery_lines.size() > 63) {
    throw config_error("recovery_lines", std::to_string(o.recovery_lines.size()) + " flows",
                       "63 at most");
  }
  if (o.snapshot_loop) check_snapshot_loop(o);
  o.arbiter.lines = static_cast<uint32_t>(o.lines.size());
  o.arbiter.recovery_lines = 0;  // what a loop carries has numbers of its own
  if (!o.snapshot_loop)
    o.arbiter.recovery_lines =
        static_cast<uint32_t>(o.recovery_lines.size()) + (o.encoder != nullptr ? 1 : 0);
  if (o.encoder != nullptr && o.arbiter.in_order && o.arbiter.hold_ns <= o.recovery.deadline_ns) {
    throw config_error("hold_ns", std::to_string(o.arbiter.hold_ns),
                       "above the deadline_ns of recovery, " +
                           std::to_string(o.recovery.deadline_ns) +
                           ", or gaps are given up before recovery may fill them");
  }
  const bool own_symbols = o.protocol == "iex" || o.protocol == "pitch";
  if (o.symbols && !own_symbols)
    throw config_error("symbol_table", "a table",
                       "left out: the venue of " + o.protocol + " numbers its instruments");
  if (o.plan && o.protocol != "cme")
    throw config_error("schema", "a schema", "left out: " + o.protocol + " has none");
  if (o.declared && o.protocol != "pillar")
    throw config_error("messages", std::to_string(o.declared->types().size()) + " types",
                       "left out: those of " + o.protocol + " are known");
  if (o.protocol == "itch") return std::make_unique<ChannelOf<ItchCodec>>(std::move(o));
  if (o.protocol == "iex") return std::make_unique<ChannelOf<IexCodec>>(std::move(o));
  if (o.protocol == "pitch") return std::make_unique<ChannelOf<PitchCodec>>(std::move(o));
  if (o.protocol == "pillar") return std::make_unique<ChannelOf<PillarCodec>>(std::move(o));
  if (o.protocol != "cme") throw config_error("protocol", "\"" + o.protocol + "\"", kProtocols);
  if (!o.plan || !o.map)
    throw config_error("schema", "None", "the templates of the venue for protocol \"cme\"");
  return std::make_unique<ChannelOf<CmeCodec>>(std::move(o));
}

}  // namespace wp::feed
