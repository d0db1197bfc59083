/* SPDX-License-Identifier: Apache-2.0
 *
 * CME MDP 3.0 recovery from the snapshot loop, instrument by instrument. Sans-I/O:
 * records of the incremental feed and of the snapshot feeds go in, records that
 * keep the books right come out.
 *
 * After a loss an instrument goes on when its next RptSeq continues the last, and
 * is stale when it does not. Orders (templates 43, 47 and those inside 46) have no
 * such number: after a loss all of them are stale. While an instrument is stale, what
 * changes its book is held back. A snapshot that covers what is missing brings it
 * back: CLEAR, what the snapshot has, then what was held back and is newer, all
 * flagged WP_FLAG_RECOVERED. Trades and statistics are never held back.
 *
 * Source: CME Group, MDP 3.0, "Market Recovery" and "MBO book recovery".
 */
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/record.h"
#include "feed/order_table.h"

namespace wp::feed {

/* Memory for all of it is taken by the constructor. */
struct CmeRecoveryOptions {
  size_t held_records = 1 << 16;  // held back for all stale instruments together
  size_t instruments = 1 << 16;   // more pass through untouched, counted in `untracked`
};

/* records = passed + held + superseded; held = replayed + covered + dropped + those
 * held now. */
struct CmeRecoveryCounters {
  uint64_t records = 0;     // of the incremental feed
  uint64_t passed = 0;      // on, at once
  uint64_t held = 0;        // back
  uint64_t superseded = 0;  // older than the book already is
  uint64_t replayed = 0;    // of those held: passed on behind a snapshot
  uint64_t covered = 0;     // of those held: the snapshot has them
  uint64_t dropped = 0;     // of those held: no room, or a hole behind them
  uint64_t untracked = 0;   // of those passed: more instruments than there is room for
  uint64_t lost_packets = 0;
  uint64_t stale = 0;              // times that a book became stale
  uint64_t recovered = 0;          // times that a snapshot brought one back
  uint64_t snapshots = 0;          // begun
  uint64_t snapshots_too_old = 0;  // did not cover what was missing
  uint64_t snapshots_unused = 0;   // nothing was missing
  uint64_t snapshots_broken = 0;   // a part of them was lost
  uint64_t loops = 0;              // whole ones seen
  uint64_t resets = 0;             // of the channel, or of the sequence
};

class CmeRecovery {
 public:
  /* Calls with more records than this may allocate. */
  static constexpr size_t kPacketRecords = 4096;

  enum class State : uint8_t { kUnseen, kLive, kStale };
  enum class Kind : uint8_t { kLevels = 0, kOrders = 1 };

  /* Throws wp::Error naming the field. */
  explicit CmeRecovery(const CmeRecoveryOptions& options = {});

  /* Which loop, or which book, a record of a snapshot is of. */
  static Kind kind_of(const wp_record& snapshot);

  /* One packet of the incremental feed with its records, in order of sequence
   * (arbitrated, 64 bits). A jump is a loss. Returns what there is to pass on, valid
   * until the next call. */
  const std::vector<wp_record>& on_packet(uint64_t seq, const wp_record* records, size_t n);
  /* The packets before `next` that did not come will not. */
  const std::vector<wp_record>& on_gap(uint64_t next);
  /* Records of one packet of a snapshot feed, with the packet's number as seq. Copies
   * do no harm. */
  const std::vector<wp_record>& on_snapshot(const wp_record* records, size_t n);
  /* The sequence begins anew (a new week, a new session): every book is void. */
  const std::vector<wp_record>& on_reset();

  /* Some book is stale or may be: the snapshot feeds are wanted. */
  bool wanting() const;
  State state(uint32_t instrument, Kind kind) const;
  /* Last RptSeq, or for orders packet, that the book has. */
  uint64_t position(uint32_t instrument, Kind kind) const;
  std::vector<uint32_t> stale() const;
  /* The first `most` of them; nothing is allocated where `out` has room for so many. */
  void stale(std::vector<uint32_t>& out, size_t most) const;
  size_t stale_count() const { return stale_now_; }
  size_t held_now() const { return held_now_; }
  const CmeRecoveryCounters& counters() const { return counters_; }

 private:
  static constexpr uint32_t kNone = UINT32_MAX;
  static constexpr uint32_t kSkipped = UINT32_MAX - 1;
  static constexpr uint64_t kBroken = UINT64_MAX;

  struct Track {
    uint64_t position = 0;  // what the book has
    uint64_t need = 0;      // stale: what a snapshot must have at least; live orders: had
    uint64_t last = 0;      // stale: newest seen; everything after `need` is held
    uint64_t event = 0;     // of the newest held
    uint32_t head = kNone, tail = kNone;
    uint32_t instrument = 0;  // its index
    State state = State::kUnseen;
    bool confirmed = true;  // live: nothing was lost in the last loss
  };
  struct Instrument {
    uint32_t id = 0;
    std::array<Track, 2> tracks;
  };
  struct Held {
    wp_record record;
    uint64_t position;
    uint32_t next;
  };
  // The loop of one snapshot feed.
  struct Loop {
    uint64_t packet = 0;
    uint64_t total = 0;        // TotNumReports
    uint64_t seen = kBroken;   // of them, since its first packet
    uint64_t floor = 0;        // lowest LastMsgSeqNumProcessed of it
    uint32_t loading = kNone;  // instrument whose snapshot is under way, or kSkipped
    uint64_t value = 0;        // what that will have: its RptSeq or packet
    uint64_t covers = 0;       // its LastMsgSeqNumProcessed
    uint32_t mark = 0;         // that, as it was sent
    uint32_t first_mark = 0;   // and that of the packet's first message
    bool whole = true;         // seen once since the last loss
  };

  static size_t most_out(size_t records, size_t more);
  uint32_t find(uint32_t id) const { return table_.find(id); }
  uint32_t find_or_add(uint32_t id);
  Track& track(uint32_t instrument, Kind kind) {
    return instruments_[instrument].tracks[static_cast<size_t>(kind)];
  }
  uint64_t extended(uint32_t packet) const;
  void lose(uint64_t next);
  void one(const wp_record& r);
  void level(const wp_record& r, Track& t, uint64_t rpt_seq, bool changes);
  void order(const wp_record& r, Track& t);
  void void_book(const wp_record& r, uint32_t instrument);
  void pass(const wp_record& r);
  void supersede(const wp_record& r);
  void make_stale(uint32_t instrument, Kind kind, uint64_t need);
  void hold(Track& t, const wp_record& r, uint64_t position);
  void let_go(Track& t, uint64_t upto, uint64_t& counter);
  void take_snapshot(const wp_record& r, Kind kind, Loop& loop);
  bool takes(uint32_t instrument, Kind kind, uint64_t rpt_seq, uint64_t covers);
  void finish(Loop& loop, Kind kind);
  void reset();

  std::vector<Instrument> instruments_;
  size_t max_instruments_;
  OrderTable table_;
  std::vector<Held> held_;
  uint32_t free_held_ = kNone;
  size_t held_now_ = 0;
  size_t stale_now_ = 0;
  std::array<Loop, 2> loops_;
  uint64_t last_packet_ = 0;
  bool started_ = false;
  bool orders_told_ = false;
  uint64_t lost_until_ = 0;                 // last packet that is known to be missing; 0: none ever
  uint64_t reset_at_ = 0;                   // packet of the last channel reset
  int64_t event_time_ = 0, recv_time_ = 0;  // of the newest record
  uint16_t channel_ = 0;
  uint64_t event_ = 0;  // ends of events so far
  std::vector<wp_record> out_;
  CmeRecoveryCounters counters_;
};

}  // namespace wp::feed
