/* SPDX-License-Identifier: Apache-2.0
 *
 * The channel of a protocol: arbiter, recovery and codec put together, so that
 * from a packet to its records there is one virtual call.
 */
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "feed/arbiter.h"
#include "feed/channel.h"
#include "feed/wire_sequence.h"

namespace wp::feed {

template <class Codec>
class ChannelOf final : public Channel {
 public:
  using Framer = typename Codec::Framer;

  explicit ChannelOf(ChannelOptions options)
      : Channel(std::move(options)),
        arbiter_(options_.arbiter),
        codec_(options_),
        loop_lines_(options_.snapshot_loop ? options_.recovery_lines.size() : 0),
        reports_gaps_late_(options_.arbiter.in_order) {
    if (options_.encoder) recovery_.emplace(options_.recovery).resume(options_.requests_by_hour);
    prepare_snapshot(options_.arbiter.units, arbiter_.lines().size() + loop_lines_.size(),
                     codec_.types());
    for (const ArbiterLine& line : arbiter_.lines()) behind_.push_back(&line.behind);
    for (const ArbiterLine& line : loop_lines_) behind_.push_back(&line.behind);
  }

  bool letters() const noexcept override { return Codec::kLetters; }

  void on_packet(uint32_t line, const uint8_t* p, size_t n, int64_t recv_time) noexcept override {
    stamp_ = recv_time;
    stamped_ = true;
    const uint64_t lost = output_->ring_full();
    if constexpr (Codec::kLoops) {
      if (line >= arbiter_.lines().size()) [[unlikely]] {
        from_loop(line, p, n, recv_time);
        ring_full_ += output_->ring_full() - lost;
        return;
      }
    }
    arbiter_.on_packet(line, p, n, recv_time, Sink{*this});
    ring_full_ += output_->ring_full() - lost;
    if (line >= arbiter_.live_lines()) [[unlikely]]
      due_ = INT64_MIN;
  }

  void begin(int64_t polled_until) noexcept override {
    this->polled_until(polled_until);
    arbiter_.polled_until(polled_in_frames());
  }

  void service(int64_t now) noexcept override {
    note_stamps(now);
    stamp_ = INT64_MIN;  // no frame is under way
    const int64_t time = clock_.at(now);
    const uint64_t lost = output_->ring_full();
    const Sink sink{*this};
    for (size_t i = 0; i < kMailAtATime; ++i) {
      const auto handle = [&](const MailHeader& h, const uint8_t* p, size_t n) {
        receive(h, p, n, time, sink);
      };
      if (!mail_.take(handle)) break;
    }
    const int64_t polled = polled_in_frames();
    arbiter_.polled_until(polled);
    arbiter_.on_time(time, sink);
    if (recovery_ && pause_ > now) [[unlikely]]
      wait();
    int64_t recovery_due = INT64_MAX;
    if (held(now, time)) [[unlikely]] {
      recovery_due = held_until_;
    } else if (recovery_) {
      recovery_->poll(time, arbiter_, Decisions{*this}, polled);
      recovery_due = recovery_->deadline();
    }
    ring_full_ += output_->ring_full() - lost;
    due_ = std::min(arbiter_.deadline(), recovery_due);
  }

  void finish() noexcept override {
    const uint64_t lost = output_->ring_full();
    for (size_t i = 0; i < arbiter_.units(); ++i) {
      if (arbiter_.unit(i).assembler().hold().empty()) continue;
      arbiter_.abandon(arbiter_.unit(i).unit(), 0, UINT64_MAX, AbandonReason::kTimeout,
                       Sink{*this});
    }
    ring_full_ += output_->ring_full() - lost;
  }

 private:
  // So that a server that sends much does not keep the lines waiting.
  static constexpr size_t kMailAtATime = 64;
  // In which the control thread sees that a sequence began anew, and holds the channel.
  static constexpr int64_t kSnapshotGrace = 1'000'000'000;

  struct Sink {
    ChannelOf& self;

    // Inline: two calls a message would cost a third of what decoding it does.
    [[gnu::always_inline]] void message(const MessageInfo& info, const uint8_t* p, size_t n) const {
      if (info.recv_time == self.stamp_) [[likely]] {
        self.codec_.message(info, p, n, *self.output_);
      } else {
        self.other_message(info, p, n);
      }
    }
    void gap(uint32_t unit, uint64_t, uint64_t) const {
      self.due_ = INT64_MIN;
      if (!self.reports_gaps_late_) self.codec_.gap(unit);
    }
    void gap_abandoned(uint32_t unit, uint64_t first, uint64_t last, AbandonReason reason) const {
      self.note_abandoned(unit, first, last, reason);
      if constexpr (Codec::kLoops) {
        if (self.codec_.recovering()) self.codec_.given_up(last, *self.output_);
      }
      if (self.reports_gaps_late_) self.codec_.lost(unit);
    }
    void heartbeat(uint32_t, uint64_t, uint16_t) const {}
    void end_of_session(uint32_t, uint64_t) const {}
    void session_change(uint32_t unit, const SessionName&, const SessionName&) const {
      self.codec_.lost(unit);
      self.codec_.session_change();
      self.begin_anew(unit);
    }
    void reset(uint32_t unit, uint64_t, ResetCause) const {
      self.codec_.lost(unit);
      self.begin_anew(unit);
    }
  };

  struct Decisions {
    ChannelOf& self;

    void request(const RecoveryRequest& what) const {
      ChannelRequest request;
      request.what = what;
      SessionName session{};
      for (size_t i = 0; i < self.arbiter_.units(); ++i) {
        if (self.arbiter_.unit(i).unit() == what.unit) session = self.arbiter_.unit(i).session();
      }
      request.length =
          static_cast<uint32_t>(self.options_.encoder->encode(what, session, request.bytes));
      if (!self.requests_.put(request)) ++self.mail_counters_.requests_dropped;
    }
    void give_up(uint32_t unit, uint64_t first, uint64_t last, AbandonReason reason) const {
      self.arbiter_.abandon(unit, first, last, reason, Sink{self});
    }
  };

  /* How frames are stamped against this machine's time; and a stamp that was had at noted_at_,
   * which is passed once every queue was empty after that. */
  void note_stamps(int64_t now) {
    if (polled_until_ >= noted_at_) {
      passed_stamp_ = noted_stamp_;
      noted_at_ = INT64_MAX;
    }
    if (!std::exchange(stamped_, false)) return;
    clock_.saw(stamp_, now);
    if (noted_at_ != INT64_MAX) return;
    noted_stamp_ = stamp_;
    noted_at_ = now;
  }
  /* A clock may be ahead by less than FrameClock tells apart: what it said counts too. */
  int64_t polled_in_frames() const {
    if (polled_until_ == INT64_MAX) return INT64_MAX;
    return std::max(clock_.at(polled_until_), passed_stamp_);
  }

  /* A pause is of this machine's time; how frames are stamped may be known later. */
  void wait() {
    const int64_t until = clock_.at(pause_);
    if (until == waiting_until_) return;
    waiting_until_ = until;
    recovery_->unpause();
    recovery_->pause(until);
  }

  /* A snapshot is under way, or about to be. What waited for it is not too old for that. */
  bool held(int64_t now, int64_t time) {
    const int64_t until = std::max(hold_ > now ? clock_.at(hold_) : INT64_MIN, grace_);
    if (until > time) {
      held_until_ = until;
      return true;
    }
    if (held_until_ != INT64_MIN && recovery_) recovery_->forgive(time);
    held_until_ = INT64_MIN;
    return false;
  }

  /* What came before of the unit is void, and books that follow begin empty. */
  void begin_anew(uint32_t unit) {
    if (options_.arbiter.await_snapshot) {
      outdated_ = true;
      grace_ = stamp_ + kSnapshotGrace;
    }
    if constexpr (Codec::kLoops) {
      if (codec_.recovering()) return codec_.anew(*output_);
    }
    if (!output_->has_books()) return;
    wp_record& r = *output_->slot();
    r = {};
    r.event_time = r.recv_time = stamp_;
    r.aux = unit;
    r.price = WP_NO_PRICE;
    r.action = WP_ACTION_CLEAR;
    r.flags = WP_FLAG_END_OF_EVENT;
    r.venue = Codec::kVenue;
    r.channel = options_.channel;
    output_->keep();
    ++cleared_;
  }

  /* A packet of a snapshot loop, whose numbers are not the channel's. */
  void from_loop(uint32_t line, const uint8_t* p, size_t n, int64_t recv_time) {
    LineCounters& c = loop_lines_[line - arbiter_.lines().size()].counters;
    ++c.packets;
    c.last_time = recv_time;
    Packet packet;
    if (!Framer::parse(p, n, packet)) {
      ++c.malformed;
    } else if (codec_.snapshot(line, packet, recv_time, *output_)) {
      ++c.unsequenced;
      ++c.unsequenced_messages;
    } else {
      ++c.ignored;
    }
  }

  /* Not of the packet that is under way. */
  [[gnu::noinline]] void other_message(const MessageInfo& info, const uint8_t* p, size_t n) {
    const uint64_t before = output_->put();
    codec_.message(info, p, n, *output_);
    output_->waited(info.recv_time, output_->put() - before);
  }

  void receive(const MailHeader& h, const uint8_t* p, size_t n, int64_t time, const Sink& sink) {
    switch (h.what) {
      case Mail::kReply:
        ++mail_counters_.replies;
        arbiter_.on_packet(reply_line(), p, n, clock_.at(h.time), sink);
        return;
      case Mail::kRefuse:
        if (recovery_) recovery_->refuse(h.unit, h.first, h.last);
        return;
      case Mail::kPause:
        pause_ = h.time == 0 ? 0 : std::max(pause_, h.time);
        waiting_until_ = 0;
        if (recovery_ && pause_ == 0) recovery_->unpause();
        return;
      case Mail::kHold:
        hold_ = h.time;
        grace_ = INT64_MIN;
        if (hold_ != 0) outdated_ = false;
        return;
      case Mail::kSkip:
        if (outdated_) return;
        arbiter_.skip_to(h.unit, h.first, time, sink);
        return;
      case Mail::kInject:
        if (outdated_) {
          ++mail_counters_.outdated;
          return;
        }
        ++mail_counters_.injected;
        codec_.inject({.seq = h.first,
                       .recv_time = h.time,
                       .unit = h.unit,
                       .line = static_cast<uint16_t>(reply_line()),
                       .flags = WP_FLAG_RECOVERED},
                      p, n, *output_);
        return;
    }
  }

  void fill(ChannelSnapshot& out, int64_t now) const noexcept override {
    out.used = std::min(arbiter_.units(), out.units.size());
    for (size_t i = 0; i < out.used; ++i) {
      const Sequencer& from = arbiter_.unit(i);
      const Assembler& assembler = from.assembler();
      const SequenceState state = from.state();
      UnitSnapshot& unit = out.units[i];
      unit.unit = from.unit();
      unit.session = state.session;
      unit.next_sequence = state.next;
      unit.next_on_wire = wire_sequence(Framer::kNumbers, state.next);
      unit.highest = assembler.next();
      unit.ended = from.ended();
      unit.gaps.assign(assembler.gaps().begin(), assembler.gaps().end());
      unit.counters = assembler.counters();
    }
    const size_t lines = arbiter_.lines().size();
    for (size_t i = 0; i < lines; ++i) out.lines[i] = arbiter_.lines()[i].counters;
    for (size_t i = 0; i < loop_lines_.size(); ++i) out.lines[lines + i] = loop_lines_[i].counters;
    if constexpr (Codec::kLoops) {
      if (codec_.recovering()) codec_.fill(out.loop);
    }
    codec_.fill(out.decoded);
    out.decoded.cleared = cleared_;
    out.decoded.records += cleared_;
    out.decoded.ring_full = ring_full_;
    out.decoded.delivered = out.decoded.records - ring_full_;
    if (recovery_) {
      out.recovery = recovery_->counters();
      out.requests_by_hour = recovery_->requests_by_hour(clock_.at(now));
    }
    if (codec_.resolved() != nullptr) {
      out.resolved.assign(codec_.resolved()->begin(), codec_.resolved()->end());
    }
  }

  Arbiter<Framer> arbiter_;
  Codec codec_;
  std::vector<ArbiterLine> loop_lines_;  // of snapshot loops
  std::optional<Recovery> recovery_;
  // In order, a gap that fills was none for the decoder.
  const bool reports_gaps_late_;
  int64_t stamp_ = 0;
  bool stamped_ = false;
  uint64_t ring_full_ = 0;
  int64_t noted_stamp_ = INT64_MIN, noted_at_ = INT64_MAX, passed_stamp_ = INT64_MIN;
  int64_t pause_ = 0, waiting_until_ = 0;
  // hold_: of this machine's time, as pause_; the others of the frames'.
  int64_t hold_ = 0, grace_ = INT64_MIN, held_until_ = INT64_MIN;
  bool outdated_ = false;  // what is injected is of before the sequence began anew
  uint64_t cleared_ = 0;
};

}  // namespace wp::feed
