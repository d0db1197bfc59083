// SPDX-License-Identifier: Apache-2.0
#include "feed/publish_line.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace wp::feed {

void PublishLineOptions::validate() const {
  impairment.validate();
  if (max_messages > kMoldMaxMessages)
    throw config_error("line.max_messages", std::to_string(max_messages),
                       "0 (as the stream) to 65534");
  if (skew_ns < 0 || skew_ns > 10'000'000'000)
    throw config_error("line.skew_ns", std::to_string(skew_ns), "0 to 10000000000");
}

PublishLine::PublishLine(const PublishLineOptions& options, PublishSchedule schedule,
                         bool whole_frames, LostEverywhere& everywhere, Counter* counters)
    : schedule_(std::move(schedule)),
      framer_(options.flow, whole_frames),
      impairment_(options.impairment),
      everywhere_(everywhere),
      counters_(counters),
      skew_ns_(options.skew_ns),
      distance_(options.impairment.reorder_packets),
      impaired_(options.impairment.any()),
      lost_(impaired_ ? 65'536 : 0) {
  if (!impaired_) return;
  if (everywhere_.ranges.messages() == 0) everywhere_.ranges = RangeList(65'536);
  held_.resize(options.impairment.reorder > 0 ? distance_ + 1 : 0);
  payloads_.resize((held_.size() + 1) * schedule_.buffer_size());
}

int64_t PublishLine::next_due(int64_t now) noexcept {
  release_ = false;
  if (have_again_) return now;
  const int64_t due = schedule_.next_due(now);
  if (held_count_ == 0) return due;
  const Held& first = held_[held_first_];
  // Nothing is held back over a heartbeat, the end, or the beginning of new numbers.
  const bool parting =
      due == PublishSchedule::kNever ||
      (due <= now && (!schedule_.data_is_next() || schedule_.next_epoch() != epoch_));
  release_ = parting || first.until <= passed_ || first.deadline <= now;
  return release_ ? now : std::min(due, first.deadline);
}

bool PublishLine::take(uint8_t* frame, int64_t now, PlannedPacket& packet) noexcept {
  uint8_t* const payload = frame + framer_.header_bytes();
  if (have_again_) {
    have_again_ = false;
    packet = again_;
    std::memcpy(payload, payload_of(held_.size()), packet.length);
  } else if (release_) {
    packet = held_[held_first_].packet;
    std::memcpy(payload, payload_of(held_first_), packet.length);
    held_first_ = (held_first_ + 1) % held_.size();
    held_count_--;
  } else {
    packet = schedule_.take(payload, now);
    epoch_ = schedule_.next_epoch();
    if (impaired_ && packet.kind == PlanKind::kData) {
      passed_++;
      switch (impairment_.next()) {
        case Fate::kSent:
          break;
        case Fate::kLost:
          lose(packet);
          return false;
        case Fate::kTwice:
          again_ = packet;
          again_.paced = false;
          again_.messages = 0;  // counted with the first
          have_again_ = true;
          std::memcpy(payload_of(held_.size()), payload, packet.length);
          counters_[kLineDuplicated].add(1);
          break;
        case Fate::kHeld: {
          if (held_count_ == held_.size()) break;  // those before it have not left yet
          const size_t slot = (held_first_ + held_count_++) % held_.size();
          held_[slot] = {packet, passed_ + distance_, now + kLongestHold};
          held_[slot].packet.paced = false;
          std::memcpy(payload_of(slot), payload, packet.length);
          counters_[kLineReordered].add(1);
          return false;
        }
      }
    }
  }
  framer_.finish(frame, static_cast<uint16_t>(packet.length));
  return true;
}

void PublishLine::lose(const PlannedPacket& packet) noexcept {
  counters_[kLineLostPackets].add(1);
  counters_[kLineLostMessages].add(packet.messages);
  lost_.add(packet.first, packet.messages);
  if (!everywhere_.log) {
    everywhere_.ranges.add(packet.first, packet.messages);
    return;
  }
  for (uint64_t n = packet.first; n < packet.first + packet.messages; n++)
    if (everywhere_.log->count_lost(n) == everywhere_.lines) everywhere_.ranges.add(n, 1);
}

uint64_t PublishLine::held_messages() const noexcept {
  uint64_t sum = 0;
  for (size_t i = 0; i < held_count_; i++)
    sum += held_[(held_first_ + i) % held_.size()].packet.messages;
  return sum;
}

}  // namespace wp::feed
