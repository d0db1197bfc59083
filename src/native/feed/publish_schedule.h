// SPDX-License-Identifier: Apache-2.0
// Which MoldUDP64 packet is due when: packing, pacing, heartbeats, end of session. Sans-I/O: the
// time is passed in, the packets are written into the caller's buffer.
//
// Deadlines are absolute: each is computed from the start and from what stands in the source,
// never from when the packet before it left. A publisher that falls behind sends at once what is
// overdue, in the same packets, and is on time again.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "feed/mold_udp64_packet.h"
#include "feed/publish_source.h"

namespace wp::feed {

enum class Pacing : uint8_t {
  kFast,      // as fast as the port takes them
  kMessages,  // `rate` messages a second
  kPackets,   // `rate` packets a second
  kOriginal,  // the source's timestamps, `speed` times as fast
};

// The stream begins anew: from message `at` on, counted from the source's first as 0, packets are
// of this session and numbered from `sequence`.
struct PublishEpoch {
  uint64_t at = 0;
  std::string session;
  uint64_t sequence = 1;
  bool heartbeat = false;       // a heartbeat of the new numbers goes before the first message
  bool end_of_session = false;  // the old session's end is said first, as often as at the end
  // This long after the message before it, all that follows with it; 0 to 3600 s. Meanwhile the end
  // of session is repeated, or heartbeats of the old numbers go on.
  int64_t pause_ns = 0;
};

struct PublishScheduleOptions {
  std::string session = "WIREPATH";  // 1 to 10 characters
  uint64_t first_sequence = 1;
  Pacing pacing = Pacing::kFast;
  double rate = 0;                 // per second, for kMessages and kPackets: 0.001 to 1e9
  double speed = 1;                // for kOriginal: 1e-6 to 1e6
  uint32_t max_payload = 1400;     // UDP payload in bytes, 72 to 65507; packets of a PacketSource
                                   // may be longer, up to `max_packet`
  uint32_t max_messages = 65'534;  // per packet, 1 to 65534
  // Messages whose deadlines lie within this of the first one's share a packet, which is due
  // with the last of them. For kMessages and kOriginal; 0 to 10 s.
  int64_t pack_window_ns = 100'000;
  int64_t heartbeat_ns = 1'000'000'000;  // after this long without a packet; 0 = none
  // After the last packet heartbeats go on for this long before the session ends.
  int64_t linger_ns = 0;
  uint32_t end_of_session = 3;                       // packets that say so, 0 to 1000
  int64_t end_of_session_interval_ns = 100'000'000;  // between them, 0 to 60 s
  uint32_t max_packet = 65'507;                      // longest payload that the port carries, bytes
  std::vector<PublishEpoch> epochs{};                // after the first, ascending; of messages only

  void validate() const;  // throws wp::Error naming the field
};

enum class PlanKind : uint8_t { kData, kHeartbeat, kEndOfSession };

struct PlannedPacket {
  PlanKind kind = PlanKind::kData;
  bool paced = true;      // false: due whenever the port takes it
  int64_t due = 0;        // ns, on the caller's clock
  uint32_t length = 0;    // payload bytes
  uint32_t messages = 0;  // in it
  uint64_t first = 0;     // of them, counted from the source's first as 0
};

class PublishSchedule {
 public:
  static constexpr int64_t kNever = INT64_MAX;
  // A source that is not ready is asked again after this long.
  static constexpr int64_t kHeldBack = 50'000;

  PublishSchedule(const PublishScheduleOptions& options, std::shared_ptr<MessageSource> source);
  PublishSchedule(const PublishScheduleOptions& options, std::shared_ptr<PacketSource> source);

  // Time zero of all deadlines.
  void start(int64_t now);

  // When the next packet is due; kNever when all has been taken. Unpaced packets are due `now`.
  // Heartbeats depend on the idle time, so ask again after waiting.
  int64_t next_due(int64_t now) noexcept;

  // Writes the packet that next_due() announced to `payload`, which holds buffer_size() bytes,
  // and counts it as sent at `now`. Only after next_due() gave another answer than kNever.
  PlannedPacket take(uint8_t* payload, int64_t now) noexcept;

  size_t buffer_size() const noexcept { return buffer_size_; }
  // Of the packet that next_due() announced: data, of which epoch (0: the first).
  bool data_is_next() const noexcept {
    return chosen_ == PlanKind::kData && staged_.kind == PlanKind::kData;
  }
  size_t next_epoch() const noexcept { return staged_epoch_; }
  // Messages taken so far, in whatever packets.
  uint64_t taken() const noexcept { return taken_; }
  // What was left out, in no packet: messages or packets too long to be sent.
  uint64_t too_long() const noexcept { return too_long_; }
  // The number after the highest one taken.
  uint64_t next_sequence() const noexcept { return next_sequence_; }
  const PublishScheduleOptions& options() const noexcept { return options_; }

 private:
  explicit PublishSchedule(const PublishScheduleOptions& options);
  void stage() noexcept;
  bool stage_messages() noexcept;
  bool stage_packet() noexcept;
  bool stage_boundary() noexcept;
  int64_t at_rate(uint64_t n) const noexcept;
  int64_t at_speed(int64_t time) noexcept;
  void begin_boundary() noexcept;
  int64_t message_due(std::span<const uint8_t> message) noexcept;
  void look_into(std::span<const uint8_t> payload) noexcept;

  PublishScheduleOptions options_;
  std::shared_ptr<MessageSource> messages_;
  std::shared_ptr<PacketSource> packets_;
  MoldPacketizer packetizer_;
  MoldSession session_{};
  size_t buffer_size_ = 0;
  std::vector<uint8_t> staging_;
  const uint8_t* staged_bytes_ = nullptr;
  PlannedPacket staged_;
  MoldSession staged_session_{};
  uint64_t after_staged_ = 1;  // next sequence number once it is taken
  bool staged_known_ = false;  // the session has been seen
  bool is_staged_ = false;
  bool exhausted_ = false;
  bool held_back_ = false;            // the source has more, not now
  std::span<const uint8_t> message_;  // read ahead, in no packet yet
  int64_t message_due_ = 0;
  bool have_message_ = false;
  uint64_t packed_ = 0;  // messages in packets, taken or staged
  uint64_t taken_ = 0;   // messages in packets that were taken
  size_t epoch_ = 0;     // that messages are packed for
  size_t staged_epoch_ = 0;
  uint32_t boundary_ends_ = 0;  // ends of session staged at this epoch's end
  bool boundary_beat_ = false;  // the next epoch's heartbeat has been staged
  bool at_boundary_ = false;
  int64_t boundary_at_ = 0;  // when the old numbers ended
  int64_t resume_at_ = 0;    // unpaced: when the new ones begin; 0: at once
  int64_t shift_ = 0;        // of all deadlines, by pauses
  PlanKind chosen_ = PlanKind::kData;
  int64_t control_due_ = 0;
  int64_t start_ = 0;
  int64_t last_sent_ = 0;
  int64_t last_data_ = 0;
  int64_t first_end_ = 0;  // when the first end of session was due
  uint32_t ends_ = 0;      // end-of-session packets taken
  int64_t origin_ = 0;     // first timestamp of the source
  bool have_origin_ = false;
  int64_t latest_due_ = INT64_MIN;
  uint64_t messages_read_ = 0;
  uint64_t packets_read_ = 0;
  uint64_t next_sequence_ = 1;
  bool can_control_ = true;    // the session is known, so heartbeats can be made
  bool source_ended_ = false;  // a capture said end of session itself
  uint64_t too_long_ = 0;
};

}  // namespace wp::feed
