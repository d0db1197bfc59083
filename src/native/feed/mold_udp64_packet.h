/* SPDX-License-Identifier: Apache-2.0
 *
 * MoldUDP64 packets: layout, request packets, and a packetizer that fills a
 * caller's buffer with downstream packets.
 *
 * Downstream: session 10 bytes, sequence of the first message u64, count u16,
 * then count blocks of u16 length and data; all big-endian. Request: the same
 * 20 bytes, first wanted sequence and how many.
 * Source: Nasdaq MoldUDP64 protocol specification 1.00.
 */
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

#include "core/error.h"
#include "net/bytes.h"

namespace wp::feed {

inline constexpr size_t kMoldSessionSize = 10;
inline constexpr size_t kMoldHeaderSize = 20;
inline constexpr uint16_t kMoldHeartbeat = 0;
inline constexpr uint16_t kMoldEndOfSession = 0xFFFF;  // never a number of blocks
inline constexpr size_t kMoldMaxMessages = 0xFFFE;
inline constexpr size_t kMoldMaxPayload = 65'507;  // UDP over IPv4

using MoldSession = std::array<char, kMoldSessionSize>;  // left as sent, usually space padded

/* Every block that the header counts lies within the packet. */
inline bool mold_blocks_complete(const uint8_t* p, size_t n) {
  if (n < kMoldHeaderSize) return false;
  const uint16_t count = net::load_be16(p + 18);
  if (count == kMoldEndOfSession) return true;
  size_t at = kMoldHeaderSize;
  for (uint16_t i = 0; i < count; ++i) {
    if (n - at < 2) return false;
    const size_t len = net::load_be16(p + at);
    if (len > n - at - 2) return false;
    at += 2 + len;
  }
  return true;
}

inline void mold_encode_header(uint8_t* p, const MoldSession& session, uint64_t sequence,
                               uint16_t count) {
  std::memcpy(p, session.data(), kMoldSessionSize);
  net::store_be64(p + 10, sequence);
  net::store_be16(p + 18, count);
}

/* 1 to 10 characters, padded with spaces. Throws wp::Error. */
inline MoldSession mold_session(const std::string& name) {
  if (name.empty() || name.size() > kMoldSessionSize) {
    throw config_error("session", "\"" + name + "\"", "1 to 10 characters");
  }
  MoldSession session;
  session.fill(' ');
  std::copy(name.begin(), name.end(), session.begin());
  return session;
}

struct MoldRequest {
  MoldSession session{};
  uint64_t sequence = 0;  // first wanted
  uint16_t count = 0;
};

/* Writes 20 bytes. */
inline void mold_encode_request(const MoldRequest& request, uint8_t* out) {
  mold_encode_header(out, request.session, request.sequence, request.count);
}

/* False when the datagram is not exactly 20 bytes. */
inline bool mold_decode_request(const uint8_t* p, size_t n, MoldRequest* out) {
  if (n != kMoldHeaderSize) return false;
  std::memcpy(out->session.data(), p, kMoldSessionSize);
  out->sequence = net::load_be64(p + 10);
  out->count = net::load_be16(p + 18);
  return true;
}

/* Packs messages into downstream packets and numbers them:
 *   packetizer.begin(buffer);               // at least max_payload() bytes
 *   while (more && packetizer.append(message, length)) ...
 *   send(buffer, packetizer.finish());
 */
class MoldPacketizer {
 public:
  /* session: 1 to 10 characters, padded with spaces. max_payload: UDP payload in
   * bytes, header included. max_messages: per packet. Throws wp::Error. */
  explicit MoldPacketizer(const std::string& session, uint64_t next_sequence = 1,
                          size_t max_payload = 1472, size_t max_messages = kMoldMaxMessages)
      : max_payload_(max_payload),
        max_messages_(max_messages),
        next_(next_sequence),
        session_(mold_session(session)) {
    if (max_payload < kMoldHeaderSize + 2 || max_payload > kMoldMaxPayload) {
      throw config_error("max_payload", std::to_string(max_payload), "22 to 65507 bytes");
    }
    if (max_messages == 0 || max_messages > kMoldMaxMessages) {
      throw config_error("max_messages", std::to_string(max_messages), "1 to 65534");
    }
  }

  /* The following packets are of this session, and numbered from here. Between packets. */
  void restart(const MoldSession& session, uint64_t next_sequence) {
    session_ = session;
    next_ = next_sequence;
  }

  /* Starts a packet in buffer, which holds at least max_payload() bytes. */
  void begin(uint8_t* buffer) {
    buffer_ = buffer;
    used_ = kMoldHeaderSize;
    count_ = 0;
  }

  /* False, and nothing done, when the message does not fit any more. */
  bool append(const void* message, uint16_t length) {
    if (count_ == max_messages_ || used_ + 2 + length > max_payload_) return false;
    net::store_be16(buffer_ + used_, length);
    std::memcpy(buffer_ + used_ + 2, message, length);
    used_ += size_t{2} + length;
    ++count_;
    return true;
  }

  /* Writes the header and returns the packet's length; 0 when it has no message. */
  size_t finish() {
    if (count_ == 0) return 0;
    mold_encode_header(buffer_, session_, next_, static_cast<uint16_t>(count_));
    next_ += count_;
    count_ = 0;
    return used_;
  }

  /* Both write 20 bytes that carry the next sequence number, and return 20. Not
   * between begin and finish: the pending messages are not in that number yet. */
  size_t heartbeat(uint8_t* out) const { return control(out, kMoldHeartbeat); }
  size_t end_of_session(uint8_t* out) const { return control(out, kMoldEndOfSession); }

  /* Whether a message of this length fits an empty packet. */
  bool fits(size_t length) const { return length + kMoldHeaderSize + 2 <= max_payload_; }
  size_t pending() const { return count_; }         // messages since begin
  size_t pending_bytes() const { return used_; }    // packet length so far
  uint64_t next_sequence() const { return next_; }  // of the packet being filled
  size_t max_payload() const { return max_payload_; }
  const MoldSession& session() const { return session_; }

 private:
  size_t control(uint8_t* out, uint16_t count) const {
    mold_encode_header(out, session_, next_, count);
    return kMoldHeaderSize;
  }

  size_t max_payload_;
  size_t max_messages_;
  uint64_t next_;
  MoldSession session_{};
  uint8_t* buffer_ = nullptr;
  size_t used_ = 0;
  size_t count_ = 0;
};

}  // namespace wp::feed
