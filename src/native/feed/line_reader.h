/* SPDX-License-Identifier: Apache-2.0
 *
 * All UDP payloads of a capture in, what a decoder makes of each message out: the
 * destinations are lines of a channel, put together by an Arbiter. Sessions that the
 * header names are channels of their own.
 *
 * For files: memory grows, and lines are found as they come.
 */
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/record.h"
#include "feed/arbiter.h"
#include "feed/cme_packet.h"
#include "feed/iex_tp.h"
#include "feed/itch50.h"
#include "feed/itch50_columns.h"
#include "feed/message_columns.h"
#include "feed/message_decoder.h"
#include "feed/mold_framer.h"
#include "feed/pitch_units.h"
#include "net/headers.h"

namespace wp::feed {

/* Which bytes of a payload name the session, and so the channel. */
template <class Framer>
struct SessionBytes {
  static constexpr size_t kAt = 0, kSize = 0;
};
template <>
struct SessionBytes<MoldFramer> {
  static constexpr size_t kAt = 0, kSize = 10;
};
template <>
struct SessionBytes<IexTpFramer> {
  static constexpr size_t kAt = 2, kSize = 10;
};

/* Where a payload went. */
struct LineAddress {
  std::array<uint8_t, 16> ip{};  // IPv4 in the first four
  uint8_t version = 4;
  uint16_t port = 0;

  friend bool operator==(const LineAddress&, const LineAddress&) = default;
};

/* payloads = Σ packets of all channels' lines + foreign + other_line + other_channel + no_session.
 */
struct LineReaderCounters {
  uint64_t frames = 0;
  uint64_t not_udp = 0;        // frames without a whole UDP datagram
  uint64_t payloads = 0;       // offered
  uint64_t foreign = 0;        // to destinations that have carried nothing of the protocol so far
  uint64_t other_line = 0;     // to a destination beyond kMaxLines
  uint64_t other_channel = 0;  // of a session beyond kMaxChannels
  uint64_t no_session = 0;     // too short to name one
};

struct AbandonedInChannel {
  uint16_t channel;
  uint32_t unit;
  uint64_t first, last;
  AbandonReason reason;
};

/* Maker: message(const MessageInfo&, uint16_t channel, const uint8_t*, size_t), and
 * lost(unit) when messages of a unit will not come. */
template <class Framer, class Maker, size_t kLines = 16, size_t kChannels = 64>
class LineReader {
 public:
  static constexpr size_t kMaxLines = kLines;
  static constexpr size_t kMaxChannels = kChannels;
  static constexpr size_t kMaxAbandoned = 1024;  // told by range; the rest is only counted

  /* options.lines is of no concern. channel: of the first session's records; later
   * ones count up from it. Throws wp::Error. */
  LineReader(const ArbiterOptions& options, Maker maker, uint16_t channel = 0)
      : options_(options), maker_(std::move(maker)), first_channel_(channel) {
    options_.lines = kMaxLines;
    options_.recovery_lines = 0;
    check_arbiter_options(options_);
  }

  void on_frame(const uint8_t* frame, uint32_t length, int64_t recv_time) {
    ++counters_.frames;
    net::Headers h;
    net::parse_headers(frame, length, h);
    if (!(h.layers & net::kUdp) || h.layers & net::kFragment) {
      ++counters_.not_udp;
      return;
    }
    LineAddress to;
    std::memcpy(to.ip.data(), h.ip_dst, sizeof h.ip_dst);
    to.version = h.ip_version;
    to.port = h.dst_port;
    on_payload(to, frame + h.payload_offset, h.payload_length, recv_time);
  }

  void on_payload(const LineAddress& to, const uint8_t* p, size_t n, int64_t recv_time) {
    ++counters_.payloads;
    const size_t line = line_of(to, p, n);
    if (line == kNoLine) {
      ++counters_.foreign;
      return;
    }
    if (line == kMaxLines) {
      ++counters_.other_line;
      return;
    }
    using Bytes = SessionBytes<Framer>;
    if (n < Bytes::kAt + Bytes::kSize) {
      ++counters_.no_session;
      return;
    }
    const size_t channel = channel_of(p + Bytes::kAt);
    if (channel == kMaxChannels) {
      ++counters_.other_channel;
      return;
    }
    Sink sink{{}, *this, static_cast<uint16_t>(channel)};
    channels_[channel].arbiter->on_packet(static_cast<uint32_t>(line), p, n, recv_time, sink);
  }

  /* The end of the file: what is held waits for nothing any more. (INT64_MAX is the
   * arbiter's "never".) */
  void flush() {
    for (size_t i = 0; i < channels_.size(); ++i) {
      channels_[i].arbiter->on_time(INT64_MAX - 1, Sink{{}, *this, static_cast<uint16_t>(i)});
    }
  }

  Maker& maker() { return maker_; }
  const Maker& maker() const { return maker_; }
  const LineReaderCounters& counters() const { return counters_; }
  const std::vector<LineAddress>& lines() const { return lines_; }
  size_t channels() const { return channels_.size(); }
  const Arbiter<Framer>& arbiter(size_t channel) const { return *channels_[channel].arbiter; }
  const std::vector<AbandonedInChannel>& abandoned() const { return abandoned_; }

 private:
  using Key = std::array<uint8_t, 16>;
  struct Channel {
    Key key;
    std::unique_ptr<Arbiter<Framer>> arbiter;
  };
  struct Sink : ArbiterSink {
    LineReader& self;
    uint16_t channel;

    void message(const MessageInfo& info, const uint8_t* data, size_t length) {
      self.maker_.message(info, static_cast<uint16_t>(self.first_channel_ + channel), data, length);
    }
    void gap_abandoned(uint32_t unit, uint64_t first, uint64_t last, AbandonReason reason) {
      self.maker_.lost(unit);
      if (self.abandoned_.size() < kMaxAbandoned)
        self.abandoned_.push_back({channel, unit, first, last, reason});
    }
    void reset(uint32_t unit, uint64_t, ResetCause) { self.maker_.lost(unit); }
    void session_change(uint32_t unit, const SessionName&, const SessionName&) {
      self.maker_.lost(unit);
    }
  };

  static constexpr size_t kNoLine = SIZE_MAX;

  size_t line_of(const LineAddress& to, const uint8_t* p, size_t n) {
    if (latest_line_ < lines_.size() && lines_[latest_line_] == to) [[likely]]
      return latest_line_;
    for (size_t i = 0; i < lines_.size(); ++i) {
      if (lines_[i] == to) return latest_line_ = i;
    }
    Packet packet;
    if (!Framer::parse(p, n, packet)) return kNoLine;  // whatever else is in the capture
    if (lines_.size() == kMaxLines) return kMaxLines;
    lines_.push_back(to);
    return latest_line_ = lines_.size() - 1;
  }

  size_t channel_of(const uint8_t* name) {
    Key key{};
    // Without a session there is no name to point at.
    if constexpr (SessionBytes<Framer>::kSize != 0)
      std::memcpy(key.data(), name, SessionBytes<Framer>::kSize);
    if (latest_channel_ < channels_.size() && channels_[latest_channel_].key == key) [[likely]]
      return latest_channel_;
    for (size_t i = 0; i < channels_.size(); ++i) {
      if (channels_[i].key == key) return latest_channel_ = i;
    }
    if (channels_.size() == kMaxChannels) return kMaxChannels;
    channels_.push_back({key, std::make_unique<Arbiter<Framer>>(options_)});
    return latest_channel_ = channels_.size() - 1;
  }

  ArbiterOptions options_;
  Maker maker_;
  uint16_t first_channel_;
  LineReaderCounters counters_;
  std::vector<LineAddress> lines_;
  std::vector<Channel> channels_;
  std::vector<AbandonedInChannel> abandoned_;
  size_t latest_line_ = 0;
  size_t latest_channel_ = 0;
};

/* Records, as many as there is memory for; the caller takes them between batches. */
class RecordBuffer {
 public:
  wp_record* room(size_t n) {
    if (records_.size() - used_ < n) [[unlikely]]
      records_.resize(2 * (used_ + n));
    return records_.data() + used_;
  }
  void wrote(size_t n) { used_ += n; }
  size_t size() const { return used_; }
  const wp_record* data() const { return records_.data(); }
  void clear() { used_ = 0; }

 private:
  std::vector<wp_record> records_;
  size_t used_ = 0;
};

inline MessageContext message_context(const MessageInfo& info, uint16_t channel) {
  return {.seq = info.seq,
          .recv_time = info.recv_time,
          .send_time = info.send_time,
          .channel = channel,
          .unit = static_cast<uint8_t>(info.unit),
          .flags = info.flags};
}

class ItchRecordMaker {
 public:
  explicit ItchRecordMaker(int64_t midnight_ns) : midnight_(midnight_ns) {}

  void message(const MessageInfo& info, uint16_t channel, const uint8_t* data, size_t length) {
    const Itch50Context context{info.seq, info.recv_time, midnight_, channel, info.flags};
    if (decoder_.decode(data, length, context, *records_.room(1)) == ItchResult::kOk)
      records_.wrote(1);
  }
  void lost(uint32_t) {}
  RecordBuffer& records() { return records_; }
  const Itch50Counters& counters() const { return decoder_.counters(); }

 private:
  int64_t midnight_;
  Itch50Decoder decoder_;
  RecordBuffer records_;
};

/* Decoder: of iex.h or pitch.h. */
template <class Decoder>
class RecordMaker {
 public:
  explicit RecordMaker(Decoder decoder) : decoder_(std::move(decoder)) {}

  void message(const MessageInfo& info, uint16_t channel, const uint8_t* data, size_t length) {
    records_.wrote(
        decoder_.decode(data, length, message_context(info, channel), records_.room(kMaxRecords)));
  }
  void lost(uint32_t unit) {
    if constexpr (requires { decoder_.forget_time(uint8_t{}); })
      decoder_.forget_time(static_cast<uint8_t>(unit));
  }
  RecordBuffer& records() { return records_; }
  const MessageCounters& counters() const { return decoder_.counters(); }

 private:
  Decoder decoder_;
  RecordBuffer records_;
};

class ItchColumnMaker {
 public:
  explicit ItchColumnMaker(const std::string& types) : columns_(types) {}

  void message(const MessageInfo& info, uint16_t, const uint8_t* data, size_t length) {
    if (columns_.append(data, length, info.seq, info.recv_time) == ItchResult::kOk) ++pending_;
  }
  void lost(uint32_t) {}
  size_t pending() const { return pending_; }
  size_t rows(uint8_t type) const { return columns_.rows(static_cast<char>(type)); }
  size_t row_size(uint8_t type) const {
    return itch50_row_layout(static_cast<char>(type)).itemsize;
  }
  std::span<const uint8_t> data(uint8_t type) const {
    return columns_.data(static_cast<char>(type));
  }
  void clear() {
    pending_ = 0;
    columns_.clear();
  }
  Itch50Counters counters() const { return columns_.counters(); }

 private:
  Itch50Columns columns_;
  size_t pending_ = 0;  // messages since clear, also of types that are not kept
};

/* Raw columns of iex.h or pitch.h; the decoder knows the time of messages that do not
 * tell theirs. */
template <class Decoder>
class ColumnMaker {
 public:
  ColumnMaker(Decoder decoder, const ColumnTable& table, std::span<const uint8_t> types)
      : decoder_(std::move(decoder)), columns_(table, types) {}

  void message(const MessageInfo& info, uint16_t channel, const uint8_t* data, size_t length) {
    const MessageContext ctx = message_context(info, channel);
    RowStamp stamp{ctx.seq, ctx.recv_time, ctx.send_time, 0, ctx.unit};
    if constexpr (requires { decoder_.time_of(data, ctx); }) {
      if (columns_.fits(data, length)) stamp.event_time = decoder_.time_of(data, ctx);
    }
    if (columns_.append(data, length, stamp) == MessageResult::kOk) ++pending_;
  }
  void lost(uint32_t unit) {
    if constexpr (requires { decoder_.forget_time(uint8_t{}); })
      decoder_.forget_time(static_cast<uint8_t>(unit));
  }
  size_t pending() const { return pending_; }
  size_t rows(uint8_t type) const { return columns_.rows(type); }
  size_t row_size(uint8_t type) const {
    const ColumnTable& table = columns_.table();
    return table.layouts[table.index_of(type)].itemsize;
  }
  std::span<const uint8_t> data(uint8_t type) const { return columns_.data(type); }
  void clear() {
    pending_ = 0;
    columns_.clear();
  }
  const MessageCounters& counters() const { return columns_.counters(); }

 private:
  Decoder decoder_;
  MessageColumns columns_;
  size_t pending_ = 0;
};

/* CME's packets in order and once, as they were: for decoders that take many. */
class PacketMaker {
 public:
  void message(const MessageInfo& info, uint16_t, const uint8_t* data, size_t length) {
    const size_t at = data_.size();
    data_.resize(at + kCmeHeaderSize + length);
    const uint32_t sequence = static_cast<uint32_t>(info.seq);
    std::memcpy(data_.data() + at, &sequence, sizeof sequence);
    std::memcpy(data_.data() + at + sizeof sequence, &info.send_time, sizeof info.send_time);
    if (length != 0) std::memcpy(data_.data() + at + kCmeHeaderSize, data, length);
    lengths_.push_back(static_cast<uint32_t>(kCmeHeaderSize + length));
    times_.push_back(info.recv_time);
  }
  void lost(uint32_t) {}
  const std::vector<uint8_t>& data() const { return data_; }
  const std::vector<uint32_t>& lengths() const { return lengths_; }
  const std::vector<int64_t>& times() const { return times_; }
  void clear() {
    data_.clear();
    lengths_.clear();
    times_.clear();
  }

 private:
  std::vector<uint8_t> data_;
  std::vector<uint32_t> lengths_;
  std::vector<int64_t> times_;
};

}  // namespace wp::feed
