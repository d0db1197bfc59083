/* SPDX-License-Identifier: Apache-2.0
 *
 * One channel of a venue: its lines through an arbiter, what none of them brought
 * asked for again, messages that are wanted decoded to records. Sans-I/O: payloads
 * and times in, records out; requests to be sent and what servers answered pass
 * through mailboxes between the data thread and one control thread.
 */
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/histogram.h"
#include "core/steering.h"
#include "core/telemetry.h"
#include "feed/arbiter_types.h"
#include "feed/cme_map.h"
#include "feed/cme_recovery.h"
#include "feed/declared_messages.h"
#include "feed/frame_clock.h"
#include "feed/message_filter.h"
#include "feed/record_output.h"
#include "feed/recovery.h"
#include "feed/recovery_requests.h"
#include "feed/sequence_gaps.h"
#include "feed/spsc.h"
#include "feed/symbol_table.h"

namespace wp::feed {

struct ChannelOptions {
  std::string name;
  std::string protocol;  // "itch", "iex", "pitch", "cme", "pillar"
  uint16_t channel = 0;  // goes into every record
  int64_t midnight_ns = 0;
  // Where the lines come: at least one live one.
  std::vector<FlowRule> lines;
  std::vector<FlowRule> recovery_lines;
  // lines and recovery_lines of it are set from those above, and one more for replies where there
  // is recovery. With recovery hold_ns has to be above its deadline_ns.
  ArbiterOptions arbiter;
  std::unique_ptr<RequestEncoder> encoder;  // null: gaps are told, not asked for
  RecoveryOptions recovery;
  RequestHours requests_by_hour;  // before a restart: they count against per_day
  FilterOptions filter;
  std::shared_ptr<const SbePlan> plan;  // cme
  std::optional<CmeMap> map;            // cme
  // cme: books are repaired from the snapshot loops, which are what recovery_lines carry.
  std::optional<CmeRecoveryOptions> snapshot_loop;
  std::shared_ptr<SymbolTable> symbols;        // iex, pitch; null: one of its own
  std::shared_ptr<DeclaredMessages> declared;  // pillar; null: records only
  size_t requests = 256;                       // to be taken by the control thread
  size_t mail_bytes = size_t{4} << 20;         // from it: replies, messages of snapshots
};

/* A request to be sent. */
struct ChannelRequest {
  RecoveryRequest what;
  uint8_t bytes[RequestEncoder::kMaxBytes];
  uint32_t length = 0;
};

struct AbandonedRange {
  uint64_t first = 0;
  uint64_t last = 0;
  uint32_t unit = 0;
  AbandonReason reason = AbandonReason::kTimeout;
};

/* What became of messages that the arbiter passed on, and of injected ones. messages + filtered +
 * unknown + other_schema + malformed = messages offered (of CME: SBE messages, several in what the
 * arbiter counts as one, and of the snapshot loop). records = delivered + ring_full. */
struct DecodeCounters {
  uint64_t messages = 0;  // decoded
  uint64_t filtered = 0;  // not wanted
  uint64_t unknown = 0;
  uint64_t other_schema = 0;
  uint64_t malformed = 0;
  uint64_t untimed = 0;
  uint64_t no_record = 0;         // of messages: made none
  uint64_t filtered_records = 0;  // of wanted messages, not wanted themselves
  uint64_t cleared = 0;           // of records: made where a session or sequence began anew
  uint64_t records = 0;
  uint64_t delivered = 0;
  uint64_t ring_full = 0;
  std::vector<std::pair<uint32_t, uint64_t>> by_type;  // every type that the venue has
};

/* Of the mailboxes. */
struct MailCounters {
  uint64_t replies = 0;           // taken in by the arbiter
  uint64_t replies_refused = 0;   // no room in the mailbox
  uint64_t injected = 0;          // messages of snapshots, taken in
  uint64_t injected_refused = 0;  // no room in the mailbox
  uint64_t outdated = 0;  // of a snapshot of what was before the sequence began anew: ignored
  uint64_t requests_dropped = 0;  // nobody took those before; asked again later
};

struct UnitSnapshot {
  uint32_t unit = 0;
  SessionName session{};
  uint64_t next_sequence = 0;
  uint64_t next_on_wire = 0;
  uint64_t highest = 0;
  bool ended = false;
  std::vector<SequenceRange> gaps;
  UnitCounters counters;
};

/* Of books that are repaired from snapshot loops. */
struct LoopSnapshot {
  CmeRecoveryCounters counters;
  uint64_t unfit_packets = 0;  // with more records than there is room for; taken for lost
  size_t held_now = 0;
  size_t stale_count = 0;       // books; an instrument has one of levels and one of orders
  std::vector<uint32_t> stale;  // instruments, the first kStaleTold
  bool wanting = false;
};

struct ChannelSnapshot {
  std::vector<UnitSnapshot> units;  // of those, the first `used` are there
  size_t used = 0;
  std::vector<LineCounters> lines;
  DecodeCounters decoded;
  MailCounters mail;
  RecoveryCounters recovery;
  LoopSnapshot loop;
  RequestHours requests_by_hour;
  std::vector<uint32_t> resolved;         // numbers of the symbols asked for, see LocateFilter
  std::vector<AbandonedRange> abandoned;  // the newest kAbandonedKept, oldest first
  uint64_t abandoned_total = 0;
};

class Channel {
 public:
  static constexpr size_t kAbandonedKept = 1024;
  static constexpr size_t kStaleTold = 1024;

  virtual ~Channel();
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

  const ChannelOptions& options() const noexcept { return options_; }
  const std::string& name() const noexcept { return options_.name; }

  // --- data thread ------------------------------------------------------------------------
  virtual void on_packet(uint32_t line, const uint8_t* p, size_t n, int64_t recv_time) noexcept = 0;
  /* There is mail, or a timer has run out: service() wants to be called. */
  bool due(int64_t now) const noexcept { return has_mail() || clock_.at(now) >= due_; }
  bool has_mail() const noexcept { return !mail_.empty(); }
  /* Whatever reached this machine before that time, by its clock, has been through on_packet:
   * counts from the next service() on. See Arbiter::polled_until. */
  void polled_until(int64_t time) noexcept { polled_until_ = time; }
  /* The same before the first packet of a worker. */
  virtual void begin(int64_t polled_until) noexcept = 0;
  /* Takes in some of the mail, lets timers run, asks for what is missing. now: of this machine. */
  virtual void service(int64_t now) noexcept = 0;
  /* Nothing more will come: where messages are held they are delivered, and what they waited for
   * given up. */
  virtual void finish() noexcept = 0;
  /* Telemetry, and the snapshot if nobody is looking at it. */
  void publish(int64_t now, bool must) noexcept;
  /* Where records go, for good until unbind. Throws wp::Error where it has a stage already. Not
   * while a worker runs. */
  void bind(RecordOutput* output, const std::string& stage);
  void unbind(const RecordOutput* output) noexcept;

  // --- control thread ---------------------------------------------------------------------
  bool take_request(ChannelRequest* out);
  /* A datagram of the server. False: no room, counted. Throws without recovery, or too long. */
  bool reply(const uint8_t* p, size_t n, int64_t recv_time);
  void refuse(uint32_t unit, uint64_t first, uint64_t last);
  /* No requests before that time, and what is missing waits; 0: from now on again. */
  void pause(int64_t until);
  /* A snapshot is under way: until that time what is missing is neither asked for nor given up,
   * whatever its age; 0: again from now on, and ages count from now. Once the sequence has begun
   * anew, what is injected counts only behind another hold (await_snapshot). */
  void hold(int64_t until);
  void skip_to(uint32_t unit, uint64_t next);
  bool inject(uint32_t unit, const uint8_t* p, size_t n, uint64_t seq, int64_t recv_time);

  // --- any thread -------------------------------------------------------------------------
  ChannelSnapshot snapshot() const;
  const Histogram& behind(uint32_t line) const { return *behind_[line]; }
  /* Types as letters or as numbers. */
  virtual bool letters() const noexcept = 0;
  uint32_t reply_line() const noexcept {
    return static_cast<uint32_t>(options_.lines.size() + options_.recovery_lines.size());
  }

 protected:
  enum class Mail : uint8_t { kReply, kRefuse, kPause, kHold, kSkip, kInject };
  struct MailHeader {
    Mail what;
    uint32_t unit;
    uint64_t first;
    uint64_t last;
    int64_t time;
  };

  explicit Channel(ChannelOptions options);
  virtual void fill(ChannelSnapshot& out, int64_t now) const noexcept = 0;
  void prepare_snapshot(size_t units, size_t lines, size_t types);
  void note_abandoned(uint32_t unit, uint64_t first, uint64_t last, AbandonReason reason) noexcept;

  ChannelOptions options_;
  RecordOutput* output_ = nullptr;
  FrameClock clock_;
  int64_t due_ = INT64_MAX;
  int64_t polled_until_ = INT64_MAX;
  SpscMessages<MailHeader> mail_;
  SpscQueue<ChannelRequest> requests_;
  MailCounters mail_counters_;  // the data thread's part
  std::vector<const Histogram*> behind_;

 private:
  bool post(const MailHeader& header, const uint8_t* data, size_t n);
  void post_or_throw(const MailHeader& header, const char* what);

  std::mutex control_mutex_;  // there is one control thread at a time
  std::atomic<uint64_t> replies_refused_{0}, injected_refused_{0};
  std::array<AbandonedRange, kAbandonedKept> abandoned_;
  uint64_t abandoned_total_ = 0;

  Telemetry& telemetry_;
  Counter* cells_ = nullptr;
  std::string stage_;

  mutable std::mutex snapshot_mutex_;  // the data thread only ever tries it, between bursts
  ChannelSnapshot snapshot_;
  int64_t snapshot_at_ = 0;
};

/* Throws wp::Error naming the field. */
std::unique_ptr<Channel> make_channel(ChannelOptions options);

}  // namespace wp::feed
