// SPDX-License-Identifier: Apache-2.0
// One line of a publisher: the stream packed in its own way, to its own group, through its own
// bad network. Sans-I/O, as the schedule under it.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "core/telemetry.h"
#include "feed/line_impairment.h"
#include "feed/message_log.h"
#include "feed/publish_schedule.h"
#include "feed/udp_framer.h"

namespace wp::feed {

struct PublishLineOptions {
  UdpFramerOptions flow;
  uint32_t max_messages = 0;  // in a packet; 0: as the schedule says
  int64_t skew_ns = 0;        // this much later than the others; 0 to 10 s
  ImpairmentOptions impairment;

  void validate() const;
};

// Of the messages lost by every line: shared by the lines of a publisher.
struct LostEverywhere {
  std::shared_ptr<MessageLog> log;  // null: there is one line
  uint32_t lines = 1;
  RangeList ranges{0};  // room is made when a line has impairments
};

// Counters of a line; messages + lost.messages + refused.messages is what its schedule gave.
enum LineCounter : size_t {
  kLinePackets,
  kLineMessages,
  kLineLostPackets,
  kLineLostMessages,
  kLineRefusedMessages,
  kLineDuplicated,
  kLineReordered,
  kLineCounters
};
inline constexpr std::array<const char*, kLineCounters> kLineCounterNames{
    "packets",          "messages",   "lost.packets", "lost.messages",
    "refused.messages", "duplicated", "reordered"};

class PublishLine {
 public:
  // A packet that is overtaken waits for others at most this long.
  static constexpr int64_t kLongestHold = 20'000'000;

  PublishLine(const PublishLineOptions& options, PublishSchedule schedule, bool whole_frames,
              LostEverywhere& everywhere, Counter* counters);

  void start(int64_t now) { schedule_.start(now + skew_ns_); }
  // As PublishSchedule's.
  int64_t next_due(int64_t now) noexcept;
  // Writes the frame that next_due() announced; false: the network swallowed it, for now or for
  // good. `frame` holds frame_bytes().
  bool take(uint8_t* frame, int64_t now, PlannedPacket& packet) noexcept;
  size_t frame_bytes() const noexcept { return framer_.header_bytes() + schedule_.buffer_size(); }
  size_t header_bytes() const noexcept { return framer_.header_bytes(); }

  const PublishSchedule& schedule() const noexcept { return schedule_; }
  Counter* counters() const noexcept { return counters_; }
  // Message numbers, counted from 0, that this line lost. Not while it runs.
  const RangeList& lost() const noexcept { return lost_; }
  // Packets still held back.
  size_t held() const noexcept { return held_count_; }
  uint64_t held_messages() const noexcept;

 private:
  struct Held {
    PlannedPacket packet;
    uint64_t until;    // so many have passed
    int64_t deadline;  // or this time
  };
  uint8_t* payload_of(size_t slot) noexcept {
    return payloads_.data() + slot * schedule_.buffer_size();
  }
  void lose(const PlannedPacket& packet) noexcept;

  PublishSchedule schedule_;
  UdpFramer framer_;
  Impairment impairment_;
  LostEverywhere& everywhere_;
  Counter* counters_;
  int64_t skew_ns_;
  uint32_t distance_;
  bool impaired_;
  RangeList lost_;
  std::vector<Held> held_;         // a ring; the slot behind it is for the repeated packet
  std::vector<uint8_t> payloads_;  // of held_ and, last, of again_
  size_t held_first_ = 0, held_count_ = 0;
  PlannedPacket again_;
  bool have_again_ = false;
  bool release_ = false;  // the first held packet is next
  uint64_t passed_ = 0;   // data packets, lost ones too
  size_t epoch_ = 0;
};

}  // namespace wp::feed
