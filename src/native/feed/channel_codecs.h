/* SPDX-License-Identifier: Apache-2.0
 *
 * How each protocol's messages become records in a channel: filter, decoder,
 * counters. A codec is a type with
 *   using Framer = …;
 *   static constexpr bool kLetters;          // types are letters
 *   static constexpr uint8_t kVenue;
 *   explicit Codec(const ChannelOptions&);
 *   void message(const MessageInfo&, const uint8_t* data, size_t length, RecordOutput&);
 *   void inject(…);                          // as message: of a snapshot, outside the sequence
 *   void gap(uint32_t unit);                 // messages go on behind one, which may fill later
 *   void lost(uint32_t unit);                // messages before the next will not come
 *   void session_change();
 *   size_t types() const;                    // pairs that fill writes to by_type
 *   void fill(DecodeCounters&) const;        // all but delivered and ring_full
 *   const std::vector<uint32_t>* resolved() const;  // see LocateFilter; null: nothing to resolve
 * and, where snapshot loops repair books (kLoops):
 *   bool recovering() const;                 // they do
 *   void given_up(uint64_t last, RecordOutput&);  // what is missing up to `last` will not come
 *   void anew(RecordOutput&);                // the sequence begins anew
 *   bool snapshot(uint32_t line, const Packet&, int64_t recv_time, RecordOutput&);  // of a loop
 *   void fill(LoopSnapshot&) const;
 */
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "feed/channel.h"
#include "feed/cme_mdp3.h"
#include "feed/cme_recovery.h"
#include "feed/iex.h"
#include "feed/iex_tp.h"
#include "feed/itch50.h"
#include "feed/mold_framer.h"
#include "feed/pitch.h"
#include "feed/pitch_units.h"

namespace wp::feed {

template <class ByType>
void fill_types(const ByType& counts, DecodeCounters& out) {
  for (size_t t = 0; t < out.by_type.size(); ++t) {
    out.by_type[t] = {static_cast<uint32_t>(t), counts[t]};
  }
}

class ItchCodec {
 public:
  using Framer = MoldFramer;
  static constexpr uint8_t kVenue = WP_VENUE_NASDAQ;
  static constexpr bool kLetters = true;
  static constexpr bool kLoops = false;

  explicit ItchCodec(const ChannelOptions& o)
      : types_(o.filter, 256),
        locates_(o.filter),
        filtering_(types_.active() || locates_.active()),
        channel_(o.channel),
        midnight_ns_(o.midnight_ns) {}

  [[gnu::always_inline]] void message(const MessageInfo& info, const uint8_t* p, size_t n,
                                      RecordOutput& out) {
    if (filtering_ && !wanted(p, n)) {
      ++filtered_;
      return;
    }
    const Itch50Context context{info.seq, info.recv_time, midnight_ns_, channel_, info.flags};
    if (decoder_.decode(p, n, context, *out.slot()) == ItchResult::kOk) [[likely]]
      out.keep();
  }
  void inject(const MessageInfo& info, const uint8_t* p, size_t n, RecordOutput& out) {
    message(info, p, n, out);
  }
  void gap(uint32_t) {}
  void lost(uint32_t) {}
  void session_change() { locates_.forget(); }

  size_t types() const { return 256; }
  void fill(DecodeCounters& out) const {
    const Itch50Counters& c = decoder_.counters();
    out.messages = out.records = c.messages;
    out.filtered = filtered_;
    out.unknown = c.unknown;
    out.malformed = c.malformed;
    fill_types(c.by_type, out);
  }
  const std::vector<uint32_t>* resolved() const { return &locates_.resolved(); }

 private:
  static constexpr size_t kDirectorySize = 39;

  bool wanted(const uint8_t* p, size_t n) {
    if (n < 3) return true;  // for the decoder to refuse
    const uint16_t locate = net::load_be16(p + 1);
    if (locates_.active()) {
      if (p[0] == 'R' && n == kDirectorySize)
        locates_.learn(net::load_le<uint64_t>(p + 11), locate);
      if (!locates_.wants(locate)) return false;
    }
    return types_.wants(p[0]);
  }

  TypeFilter types_;
  LocateFilter locates_;
  const bool filtering_;
  const uint16_t channel_;
  const int64_t midnight_ns_;
  uint64_t filtered_ = 0;
  Itch50Decoder decoder_;
};

/* IEX and PITCH: tables of messages with symbols, at most kMaxRecords records each. */
template <class SessionFramer, class Decoder, const auto& kTable, size_t kTypeAt>
class TableCodec {
 public:
  using Framer = SessionFramer;
  static constexpr bool kLoops = false;

  void message(const MessageInfo& info, const uint8_t* p, size_t n, RecordOutput& out) {
    const MessageContext ctx{.seq = info.seq,
                             .recv_time = info.recv_time,
                             .send_time = info.send_time,
                             .channel = channel_,
                             .unit = static_cast<uint8_t>(info.unit),
                             .flags = info.flags};
    if (filtering_ && !wanted(p, n)) {
      ++filtered_;
      // The time of what follows, wanted or not.
      if constexpr (requires { decoder_.time_of(p, ctx); }) {
        if (n == kPitchTimeSize && p[kTypeAt] == kPitchTime) decoder_.time_of(p, ctx);
      }
      return;
    }
    wp_record* const slots = out.two();
    if (slots != nullptr) [[likely]] {
      for (size_t made = decoder_.decode(p, n, ctx, slots); made != 0; --made) out.keep();
      return;
    }
    wp_record records[kMaxRecords];
    const size_t made = decoder_.decode(p, n, ctx, records);
    for (size_t i = 0; i < made; ++i) {
      *out.slot() = records[i];
      out.keep();
    }
  }
  void inject(const MessageInfo& info, const uint8_t* p, size_t n, RecordOutput& out) {
    message(info, p, n, out);
  }
  void session_change() {}

  size_t types() const { return 256; }
  void fill(DecodeCounters& out) const {
    const MessageCounters& c = decoder_.counters();
    out.messages = c.messages;
    out.records = c.records;
    out.filtered = filtered_;
    out.unknown = c.unknown;
    out.malformed = c.malformed;
    out.untimed = c.untimed;
    fill_types(c.by_type, out);
  }
  const std::vector<uint32_t>* resolved() const { return nullptr; }

 protected:
  template <class... Args>
  explicit TableCodec(const ChannelOptions& o, Args... args)
      : symbol_table_(o.symbols ? o.symbols : std::make_shared<SymbolTable>()),
        decoder_(*symbol_table_, args...),
        types_(o.filter, 256),
        symbols_(o.filter, *symbol_table_),
        filtering_(types_.active() || symbols_.active()),
        channel_(o.channel) {}

  std::shared_ptr<SymbolTable> symbol_table_;
  Decoder decoder_;

 private:
  static_assert(kMaxRecords == 2);
  static constexpr size_t kPitchTimeSize = 6;

  bool wanted(const uint8_t* p, size_t n) {
    if (n <= kTypeAt) return true;  // for the decoder to refuse
    const uint8_t type = p[kTypeAt];
    if (!types_.wants(type)) return false;
    if (!symbols_.active()) return true;
    const message_detail::Plan& plan = MessagePlans<kTable>::of(type);
    if (plan.symbol.mask == 0 || (plan.length != n && plan.long_length != n)) return true;
    return symbols_.wants(plan.symbol.load(p) | plan.symbol_pad);
  }

  TypeFilter types_;
  SymbolFilter symbols_;
  const bool filtering_;
  const uint16_t channel_;
  uint64_t filtered_ = 0;
};

class IexCodec : public TableCodec<IexTpFramer, IexDecoder, kIexMessages, 0> {
 public:
  static constexpr bool kLetters = true;
  static constexpr uint8_t kVenue = WP_VENUE_IEX;
  explicit IexCodec(const ChannelOptions& o) : TableCodec(o) {}
  void gap(uint32_t) {}
  void lost(uint32_t) {}
};

class PitchCodec : public TableCodec<PitchFramer, PitchDecoder, kPitchMessages, 1> {
 public:
  static constexpr bool kLetters = false;
  static constexpr uint8_t kVenue = WP_VENUE_CBOE;
  explicit PitchCodec(const ChannelOptions& o) : TableCodec(o, o.midnight_ns) {}
  // A message that tells the time may be among them.
  void gap(uint32_t unit) { decoder_.forget_time(static_cast<uint8_t>(unit)); }
  void lost(uint32_t unit) { decoder_.forget_time(static_cast<uint8_t>(unit)); }
};

/* CME: the arbiter's message is a packet; its messages are filtered by template before decoding,
 * their entries by security id behind it, for one message is of several instruments. With snapshot
 * loops everything is decoded, and filtered behind the recovery. */
class CmeCodec {
 public:
  using Framer = CmeFramer;
  static constexpr bool kLetters = false;
  static constexpr bool kLoops = true;
  static constexpr uint8_t kVenue = WP_VENUE_CME;

  explicit CmeCodec(const ChannelOptions& o)
      : types_(o.filter, 65'536), ids_(o.filter), decoder_(o.plan, *o.map) {
    context_.channel = o.channel;
    if (!o.snapshot_loop) return;
    recovery_.emplace(*o.snapshot_loop);
    decoded_.reserve(kDecoded);
  }

  void message(const MessageInfo& info, const uint8_t* p, size_t n, RecordOutput& out) {
    if (recovery_) {
      put(decode(info, p, n) ? recovery_->on_packet(info.seq, decoded_.data(), decoded_.size())
                             : recovery_->on_gap(info.seq + 1),
          out);
      next_ = info.seq + 1;
      return;
    }
    cme_for_each_message(
        p, n, [&](const uint8_t* message, size_t length) { one(info, message, length, out); });
  }
  /* One SBE message. */
  void inject(const MessageInfo& info, const uint8_t* p, size_t n, RecordOutput& out) {
    one(info, p, n, out);
  }
  void gap(uint32_t) {}
  void lost(uint32_t) {}
  void session_change() {}

  bool recovering() const { return recovery_.has_value(); }
  void given_up(uint64_t last, RecordOutput& out) {
    if (last < next_ || last == UINT64_MAX) return;
    put(recovery_->on_gap(last + 1), out);
    next_ = last + 1;
  }
  void anew(RecordOutput& out) {
    put(recovery_->on_reset(), out);
    next_ = 0;
  }
  /* False: nothing of a loop, or of one that another line brings. */
  bool snapshot(uint32_t line, const Packet& packet, int64_t recv_time, RecordOutput& out) {
    const bool fits = decode({.seq = packet.first, .recv_time = recv_time}, packet.messages,
                             static_cast<size_t>(packet.end - packet.messages));
    if (!fits || decoded_.empty()) return false;
    Source& from = sources_[CmeRecovery::kind_of(decoded_.front()) == CmeRecovery::Kind::kOrders];
    // Two lines of a loop, one behind the other, would not be one in order.
    if (from.line != line && from.line != Source::kNone && recv_time >= from.time &&
        recv_time - from.time < kSilence) {
      return false;
    }
    from = {line, recv_time};
    put(recovery_->on_snapshot(decoded_.data(), decoded_.size()), out);
    return true;
  }
  void fill(LoopSnapshot& out) const {
    const CmeRecoveryCounters& c = recovery_->counters();
    const bool same = out.stale_count == recovery_->stale_count() &&
                      out.counters.stale == c.stale && out.counters.recovered == c.recovered &&
                      out.counters.resets == c.resets;
    if (!same) recovery_->stale(out.stale, Channel::kStaleTold);
    out.counters = c;
    out.unfit_packets = unfit_;
    out.held_now = recovery_->held_now();
    out.stale_count = recovery_->stale_count();
    out.wanting = recovery_->wanting();
  }

  size_t types() const { return decoder_.plan().messages().size(); }
  void fill(DecodeCounters& out) const {
    const CmeCounters& c = decoder_.counters();
    out.messages = c.messages;
    out.records = records_;
    out.filtered = filtered_;
    out.filtered_records = filtered_records_;
    out.unknown = c.unknown;
    out.other_schema = c.other_schema;
    out.malformed = c.malformed;
    out.no_record = no_record_;
    for (size_t i = 0; i < out.by_type.size(); ++i) {
      out.by_type[i] = {decoder_.plan().messages()[i].id, c.by_message[i]};
    }
  }
  const std::vector<uint32_t>* resolved() const { return nullptr; }

 private:
  static constexpr size_t kHeader = 8;  // of SBE; template id u16 @2
  // More than a packet of CME's holds, however small its entries.
  static constexpr size_t kDecoded = CmeRecovery::kPacketRecords;
  static constexpr int64_t kSilence = 1'000'000'000;  // of a line, behind which another one counts

  // Which line a loop is taken from.
  struct Source {
    static constexpr uint32_t kNone = UINT32_MAX;
    uint32_t line = kNone;
    int64_t time = 0;
  };

  /* False: its records do not fit, and half of them would spoil the books. */
  bool decode(const MessageInfo& info, const uint8_t* p, size_t n) {
    decoded_.clear();
    bool fits = true;
    context_.seq = info.seq;
    context_.recv_time = info.recv_time;
    context_.flags = info.flags;
    cme_for_each_message(p, n, [&](const uint8_t* message, size_t length) {
      const size_t before = decoded_.size();
      const SbeResult result = decoder_.on_message(message, length, context_, [&] {
        if (decoded_.size() < kDecoded) return &decoded_.emplace_back();
        fits = false;
        return &beyond_;
      });
      no_record_ += result == SbeResult::kOk && decoded_.size() == before;
    });
    unfit_ += !fits;
    return fits;
  }

  void put(const std::vector<wp_record>& records, RecordOutput& out) {
    for (const wp_record& r : records) {
      wp_record& slot = *out.slot();
      slot = r;
      settle(slot, out);
    }
  }

  void one(const MessageInfo& info, const uint8_t* p, size_t n, RecordOutput& out) {
    if (n >= kHeader && !types_.wants(net::load_le<uint16_t>(p + 2))) {
      ++filtered_;
      return;
    }
    context_.seq = info.seq;
    context_.recv_time = info.recv_time;
    context_.flags = info.flags;
    wp_record* open = nullptr;
    const SbeResult result = decoder_.on_message(p, n, context_, [&] {
      if (open != nullptr) settle(*open, out);
      return open = out.slot();
    });
    if (open != nullptr) {
      settle(*open, out);
    } else {
      no_record_ += result == SbeResult::kOk;
    }
  }

  /* A record is complete. Where the one that ends an event is not wanted, and others of the event
   * were, the end is told by a record of no instrument. */
  void settle(wp_record& r, RecordOutput& out) {
    const bool end = (r.flags & WP_FLAG_END_OF_EVENT) != 0;
    if (ids_.active() && !ids_.wants(r.instrument)) {
      ++filtered_records_;
      if (!end || !event_open_) return;
      wp_record bare{};
      bare.seq = r.seq;
      bare.event_time = r.event_time;
      bare.recv_time = r.recv_time;
      bare.price = WP_NO_PRICE;
      bare.type = r.type;
      bare.flags = r.flags;
      bare.venue = r.venue;
      bare.channel = r.channel;
      r = bare;
    }
    event_open_ = !end;
    ++records_;
    out.keep();
  }

  TypeFilter types_;
  IdFilter ids_;
  CmeMdp3 decoder_;
  CmeContext context_;
  std::optional<CmeRecovery> recovery_;
  std::vector<wp_record> decoded_;  // of one packet, for recovery
  wp_record beyond_;                // what did not fit there
  uint64_t unfit_ = 0;
  std::array<Source, 2> sources_;  // of levels, of orders
  uint64_t next_ = 0;              // packet that recovery expects
  bool event_open_ = false;
  uint64_t filtered_ = 0;
  uint64_t filtered_records_ = 0;
  uint64_t records_ = 0;
  uint64_t no_record_ = 0;
};

}  // namespace wp::feed
