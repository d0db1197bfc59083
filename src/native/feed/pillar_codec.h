/* SPDX-License-Identifier: Apache-2.0
 *
 * NYSE Pillar in a channel: the packet header is known, messages are not. Each makes a
 * record that says which type came when; what else is in it goes to DeclaredMessages
 * where its layout is declared. See channel_codecs.h for what a codec is.
 */
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "feed/channel.h"
#include "feed/declared_messages.h"
#include "feed/pillar.h"

namespace wp::feed {

class PillarCodec {
 public:
  using Framer = PillarFramer;
  static constexpr uint8_t kVenue = WP_VENUE_NYSE;
  static constexpr bool kLetters = false;
  static constexpr bool kLoops = false;

  explicit PillarCodec(const ChannelOptions& o)
      : types_(o.filter, DeclaredMessages::kTypes),
        ids_(o.filter),
        declared_(o.declared),
        channel_(o.channel),
        counted_(DeclaredMessages::kTypes) {}

  void message(const MessageInfo& info, const uint8_t* p, size_t n, RecordOutput& out) {
    if (n < Framer::kMessageHeaderSize) {  // of a snapshot: in packets the framer has looked
      ++malformed_;
      return;
    }
    const uint16_t type = Framer::message_type(p);
    if (!types_.wants(type)) {
      ++filtered_;
      return;
    }
    uint32_t instrument = 0;
    if (const DeclaredMessage* const known = declared_ ? declared_->find(type) : nullptr) {
      const uint8_t* const body = p + Framer::kMessageHeaderSize;
      if (n - Framer::kMessageHeaderSize < known->size) {
        ++malformed_;
        return;
      }
      if (known->instrument_at >= 0)
        instrument = net::load_le<uint32_t>(body + known->instrument_at);
      if (ids_.active() && !ids_.wants(instrument)) {
        ++filtered_;
        return;
      }
      declared_->put(*known, info, body);  // ahead of its record: who has that finds it
    }
    wp_record& r = *out.slot();
    r = {};
    r.seq = info.seq;
    r.event_time = info.send_time;
    r.recv_time = info.recv_time;
    r.price = WP_NO_PRICE;
    r.instrument = instrument;
    r.type = type;
    r.flags = info.flags;
    r.venue = kVenue;
    r.channel = channel_;
    out.keep();
    ++messages_;
    count(type);
  }
  void inject(const MessageInfo& info, const uint8_t* p, size_t n, RecordOutput& out) {
    message(info, p, n, out);
  }
  void gap(uint32_t) {}
  void lost(uint32_t) {}
  void session_change() {}

  size_t types() const { return by_type_.size(); }
  void fill(DecodeCounters& out) const {
    out.messages = out.records = messages_;
    out.filtered = filtered_;
    out.malformed = malformed_;
    for (size_t i = 0; i < used_; ++i) out.by_type[i] = by_type_[i];
  }
  const std::vector<uint32_t>* resolved() const { return nullptr; }

 private:
  /* The first types that come; a feed has some dozens, and noise may have all. */
  void count(uint16_t type) {
    uint8_t& place = counted_[type];
    if (place == 0) {
      if (used_ == by_type_.size()) return;
      by_type_[used_] = {type, 0};
      place = static_cast<uint8_t>(++used_);
    }
    ++by_type_[place - 1u].second;
  }

  TypeFilter types_;
  IdFilter ids_;
  std::shared_ptr<DeclaredMessages> declared_;
  const uint16_t channel_;
  uint64_t messages_ = 0;
  uint64_t filtered_ = 0;
  uint64_t malformed_ = 0;
  std::vector<uint8_t> counted_;  // by type: place in by_type_, and one; 0: none
  std::array<std::pair<uint32_t, uint64_t>, 255> by_type_{};
  size_t used_ = 0;
};

}  // namespace wp::feed
