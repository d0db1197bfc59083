/* SPDX-License-Identifier: Apache-2.0
 *
 * A venue's session and what becomes of its messages in one object: datagrams in,
 * records, raw columns or the user's rows out.
 */
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <utility>

#include "core/record.h"
#include "feed/framed_session.h"
#include "feed/message_columns.h"
#include "feed/message_decoder.h"
#include "feed/raw_datagrams.h"

namespace wp::feed {

/* A sink that cares for messages and, if `lost` is told, for gaps. */
template <class Message, class Lost>
struct MessageSink {
  Message on_message;
  Lost lost;

  void message(const Packet& packet, uint64_t seq, const uint8_t* data, size_t len, bool late) {
    on_message(packet, seq, data, len, late);
  }
  void gap(uint32_t unit, uint64_t, uint64_t) { lost(unit); }
  void reset(uint32_t unit, uint64_t, bool) { lost(unit); }
  void session_change(const SessionName&, const SessionName&) {}
  void heartbeat(uint32_t, uint64_t) {}
  void end_of_session(uint32_t, uint64_t) {}
};
template <class Message, class Lost>
MessageSink(Message, Lost) -> MessageSink<Message, Lost>;

inline MessageContext context_of(const Packet& packet, uint64_t seq, int64_t recv_time,
                                 uint16_t channel, bool late) {
  const int flags = (late ? WP_FLAG_LATE : 0) | (packet.retransmitted ? WP_FLAG_RECOVERED : 0);
  return {.seq = seq,
          .recv_time = recv_time,
          .send_time = packet.send_time,
          .channel = channel,
          .unit = static_cast<uint8_t>(packet.unit),
          .flags = static_cast<uint8_t>(flags)};
}

template <class Decoder>
void forget(Decoder& decoder, uint32_t unit) {
  if constexpr (requires { decoder.forget_time(uint8_t{}); })
    decoder.forget_time(static_cast<uint8_t>(unit));
}

/* Records: kItem bytes each, at most room() of a packet. */
template <class SessionFramer, class MessageDecoder>
class RecordReader {
 public:
  using Framer = SessionFramer;
  using Decoder = MessageDecoder;

  RecordReader(const SessionOptions& options, Decoder decoder, uint16_t channel)
      : session_(options), decoder_(std::move(decoder)), channel_(channel) {}

  size_t item_size() const { return sizeof(wp_record); }
  static size_t room(const Packet& packet) { return kMaxRecords * size_t{packet.count}; }
  /* out: room(packet) records; returns how many were written. */
  size_t read(const Packet& packet, int64_t recv_time, uint8_t* out) {
    wp_record* at = reinterpret_cast<wp_record*>(out);
    session_.on_packet(
        packet,
        MessageSink{[&](const Packet& p, uint64_t seq, const uint8_t* data, size_t len, bool late) {
                      at += decoder_.decode(data, len,
                                            context_of(p, seq, recv_time, channel_, late), at);
                    },
                    [&](uint32_t unit) { forget(decoder_, unit); }});
    return static_cast<size_t>(at - reinterpret_cast<wp_record*>(out));
  }

  FramedSession<Framer>& session() { return session_; }
  Decoder& decoder() { return decoder_; }
  uint16_t channel() const { return channel_; }

 private:
  FramedSession<Framer> session_;
  Decoder decoder_;
  uint16_t channel_;
};

/* Raw columns, kept inside. Decoder: for the times of messages that do not tell theirs. */
template <class SessionFramer, class MessageDecoder>
class ColumnReader {
 public:
  using Framer = SessionFramer;

  ColumnReader(const SessionOptions& options, MessageDecoder decoder, const ColumnTable& table,
               std::span<const uint8_t> types)
      : session_(options), decoder_(std::move(decoder)), columns_(table, types) {}

  size_t item_size() const { return 1; }
  static size_t room(const Packet&) { return 0; }
  size_t read(const Packet& packet, int64_t recv_time, uint8_t*) {
    session_.on_packet(
        packet,
        MessageSink{[&](const Packet& p, uint64_t seq, const uint8_t* data, size_t len, bool late) {
                      append(data, len, context_of(p, seq, recv_time, 0, late));
                    },
                    [&](uint32_t unit) { forget(decoder_, unit); }});
    return 0;
  }
  MessageResult append(const uint8_t* data, size_t len, const MessageContext& ctx) {
    RowStamp stamp{ctx.seq, ctx.recv_time, ctx.send_time, 0, ctx.unit};
    if constexpr (requires { decoder_.time_of(data, ctx); }) {
      if (columns_.fits(data, len)) stamp.event_time = decoder_.time_of(data, ctx);
    }
    return columns_.append(data, len, stamp);
  }

  FramedSession<Framer>& session() { return session_; }
  MessageColumns& columns() { return columns_; }

 private:
  FramedSession<Framer> session_;
  MessageDecoder decoder_;
  MessageColumns columns_;
};

/* The user's rows as they stand in the datagrams. */
class RawReader {
 public:
  using Framer = RawFramer;

  RawReader(const SessionOptions& options, const RawLayout& layout)
      : session_(options, RawFramer(layout)) {}

  size_t item_size() const { return session_.framer().layout().row; }
  static size_t room(const Packet& packet) { return packet.count; }
  size_t read(const Packet& packet, int64_t, uint8_t* out) {
    uint8_t* at = out;
    session_.on_packet(
        packet, MessageSink{[&](const Packet&, uint64_t, const uint8_t* data, size_t len, bool) {
                              std::memcpy(at, data, len);
                              at += len;
                            },
                            [](uint32_t) {}});
    return static_cast<size_t>(at - out) / item_size();
  }

  FramedSession<Framer>& session() { return session_; }

 private:
  FramedSession<Framer> session_;
};

}  // namespace wp::feed
