// SPDX-License-Identifier: Apache-2.0
#include "feed/publish_schedule.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/error.h"
#include "feed/itch50_tables.h"
#include "net/bytes.h"

namespace wp::feed {
namespace {

constexpr int64_t kSecond = 1'000'000'000;

void check_ns(const char* field, int64_t value, int64_t highest) {
  if (value < 0 || value > highest)
    throw config_error(field, std::to_string(value), "0 to " + std::to_string(highest) + " ns");
}

// ITCH 5.0: ns since midnight behind type, locate and tracking number.
bool timestamp_of(std::span<const uint8_t> message, int64_t& time) {
  if (message.size() < 11) return false;
  time = static_cast<int64_t>(net::load_be64(message.data() + 3) & 0xffff'ffff'ffff);
  return true;
}

}  // namespace

void PublishScheduleOptions::validate() const {
  const bool by_rate = pacing == Pacing::kMessages || pacing == Pacing::kPackets;
  if (by_rate && !(rate >= 0.001 && rate <= 1e9))
    throw config_error("rate", std::to_string(rate), "0.001 to 1e9 per second");
  if (pacing == Pacing::kOriginal && !(speed >= 1e-6 && speed <= 1e6))
    throw config_error("speed", std::to_string(speed), "1e-6 to 1e6");
  constexpr size_t kLeast = kMoldHeaderSize + 2 + kItch50MaxLength;
  if (max_payload < kLeast || max_payload > kMoldMaxPayload)
    throw config_error("max_payload", std::to_string(max_payload),
                       std::to_string(kLeast) + " to 65507 bytes");
  if (max_messages < 1 || max_messages > kMoldMaxMessages)
    throw config_error("max_messages", std::to_string(max_messages), "1 to 65534");
  if (first_sequence == 0) throw config_error("first_sequence", "0", "1 or more");
  check_ns("pack_window_ns", pack_window_ns, 10 * kSecond);
  check_ns("heartbeat_ns", heartbeat_ns, 3'600 * kSecond);
  check_ns("linger_ns", linger_ns, 3'600 * kSecond);
  check_ns("end_of_session_interval_ns", end_of_session_interval_ns, 60 * kSecond);
  if (end_of_session > 1'000)
    throw config_error("end_of_session", std::to_string(end_of_session), "0 to 1000 packets");
  if (max_packet < kMoldHeaderSize || max_packet > kMoldMaxPayload)
    throw config_error("max_packet", std::to_string(max_packet), "20 to 65507 bytes");
  uint64_t least = 1;
  for (const PublishEpoch& epoch : epochs) {
    mold_session(epoch.session);
    if (epoch.sequence == 0) throw config_error("epochs.sequence", "0", "1 or more");
    if (epoch.at < least)
      throw config_error("epochs.at", std::to_string(epoch.at),
                         std::to_string(least) + " or more: ascending, after the first message");
    check_ns("epochs.pause_ns", epoch.pause_ns, 3'600 * kSecond);
    least = epoch.at + 1;
  }
}

PublishSchedule::PublishSchedule(const PublishScheduleOptions& options)
    : options_((options.validate(), options)),
      packetizer_(options.session, options.first_sequence, options.max_payload,
                  options.max_messages),
      session_(packetizer_.session()),
      next_sequence_(options.first_sequence) {}

PublishSchedule::PublishSchedule(const PublishScheduleOptions& options,
                                 std::shared_ptr<MessageSource> source)
    : PublishSchedule(options) {
  if (!source) throw config_error("source", "none", "a source of messages");
  messages_ = std::move(source);
  buffer_size_ = options.max_payload;
  staging_.resize(buffer_size_);
}

PublishSchedule::PublishSchedule(const PublishScheduleOptions& options,
                                 std::shared_ptr<PacketSource> source)
    : PublishSchedule(options) {
  if (!source) throw config_error("source", "none", "a source of packets");
  if (!options.epochs.empty())
    throw config_error("epochs", std::to_string(options.epochs.size()),
                       "none: packets go out as they are");
  packets_ = std::move(source);
  buffer_size_ = options.max_packet;
  can_control_ = false;  // until a packet shows the session
}

void PublishSchedule::start(int64_t now) {
  start_ = last_sent_ = last_data_ = now;
}

int64_t PublishSchedule::at_rate(uint64_t n) const noexcept {
  return start_ + shift_ + static_cast<int64_t>(static_cast<double>(n) * 1e9 / options_.rate + 0.5);
}

// Never before an earlier one, also where timestamps step back.
int64_t PublishSchedule::at_speed(int64_t time) noexcept {
  if (!have_origin_) {
    have_origin_ = true;
    origin_ = time;
  }
  const double offset = static_cast<double>(time - origin_) / options_.speed;
  constexpr double kFarthest = 1e18;  // 31 years
  return latest_due_ = std::max(
             latest_due_,
             start_ + shift_ + static_cast<int64_t>(std::clamp(offset, -kFarthest, kFarthest)));
}

int64_t PublishSchedule::message_due(std::span<const uint8_t> message) noexcept {
  if (options_.pacing == Pacing::kMessages) return at_rate(messages_read_);
  int64_t time;
  if (options_.pacing != Pacing::kOriginal) return 0;
  return timestamp_of(message, time) ? at_speed(time) : std::max(latest_due_, start_);
}

void PublishSchedule::stage() noexcept {
  held_back_ = false;
  is_staged_ = messages_ ? stage_messages() : stage_packet();
  exhausted_ = !is_staged_ && !held_back_;
}

// Everything behind a pause is later by it, the message that is read ahead too.
void PublishSchedule::begin_boundary() noexcept {
  const int64_t pause = options_.epochs[epoch_].pause_ns;
  at_boundary_ = true;
  if (options_.pacing == Pacing::kFast) {
    boundary_at_ = last_data_;
    resume_at_ = pause != 0 ? last_data_ + pause : 0;
    return;
  }
  boundary_at_ = options_.pacing == Pacing::kPackets ? at_rate(packets_read_) : message_due_;
  shift_ += pause;
  message_due_ += pause;
  latest_due_ = std::max(latest_due_, message_due_);
}

// What is said between two epochs; false: nothing more. The new numbers hold from then on.
bool PublishSchedule::stage_boundary() noexcept {
  const PublishEpoch& next = options_.epochs[epoch_];
  if (!at_boundary_) begin_boundary();
  staged_ = {};
  staged_.length = kMoldHeaderSize;
  staged_.paced = options_.pacing != Pacing::kFast || next.pause_ns != 0;
  staged_.first = packed_;
  staged_bytes_ = staging_.data();
  const int64_t new_at = boundary_at_ + next.pause_ns;
  const int64_t end_at =
      boundary_at_ +
      (next.pause_ns != 0 ? boundary_ends_ * options_.end_of_session_interval_ns : 0);
  staged_.due = std::min(end_at, new_at);
  if (next.end_of_session && options_.end_of_session != 0 &&
      (boundary_ends_ < options_.end_of_session ||
       (options_.end_of_session_interval_ns != 0 && end_at < new_at))) {
    boundary_ends_++;
    staged_.kind = PlanKind::kEndOfSession;
    packetizer_.end_of_session(staging_.data());
  } else {
    if (!boundary_beat_) {
      MoldSession session;
      session.fill(' ');
      std::copy(next.session.begin(), next.session.end(), session.begin());
      packetizer_.restart(session, next.sequence);
    }
    if (!next.heartbeat || boundary_beat_) {
      boundary_ends_ = 0;
      boundary_beat_ = at_boundary_ = false;
      epoch_++;
      return false;
    }
    boundary_beat_ = true;
    staged_.due = new_at;
    staged_.kind = PlanKind::kHeartbeat;
    packetizer_.heartbeat(staging_.data());
  }
  staged_epoch_ = epoch_ + boundary_beat_;
  staged_session_ = packetizer_.session();
  after_staged_ = packetizer_.next_sequence();
  return true;
}

bool PublishSchedule::stage_messages() noexcept {
  const bool by_message =
      options_.pacing == Pacing::kMessages || options_.pacing == Pacing::kOriginal;
  int64_t latest = 0;
  packetizer_.begin(staging_.data());
  staged_ = {};
  for (;;) {
    if (!have_message_) {
      held_back_ = !messages_->ready();
      if (held_back_ || !messages_->next(message_)) break;
      if (!packetizer_.fits(message_.size())) {
        too_long_++;
        continue;
      }
      message_due_ = message_due(message_);
      messages_read_++;
      have_message_ = true;
    }
    const bool first = packetizer_.pending() == 0;
    if (epoch_ < options_.epochs.size() && packed_ == options_.epochs[epoch_].at) [[unlikely]] {
      if (!first) break;
      if (stage_boundary()) return true;
      packetizer_.begin(staging_.data());
      staged_ = {};
    }
    if (by_message && !first && message_due_ > latest) break;
    if (!packetizer_.append(message_.data(), static_cast<uint16_t>(message_.size()))) break;
    if (first) latest = message_due_ + options_.pack_window_ns;
    staged_.due = message_due_;
    have_message_ = false;
    packed_++;
  }
  staged_.messages = static_cast<uint32_t>(packetizer_.pending());
  staged_.length = static_cast<uint32_t>(packetizer_.finish());
  if (staged_.messages == 0) return false;
  staged_.first = packed_ - staged_.messages;
  staged_epoch_ = epoch_;
  staged_.paced = options_.pacing != Pacing::kFast;
  if (options_.pacing == Pacing::kPackets) staged_.due = at_rate(packets_read_++);
  if (resume_at_ != 0) [[unlikely]] {
    staged_.paced = true;
    staged_.due = std::exchange(resume_at_, 0);
  }
  staged_bytes_ = staging_.data();
  staged_session_ = packetizer_.session();
  after_staged_ = packetizer_.next_sequence();
  return true;
}

bool PublishSchedule::stage_packet() noexcept {
  TimedPacket packet;
  do {
    if (!packets_->next(packet)) return false;
    if (packet.payload.size() <= options_.max_packet) break;
    too_long_++;
  } while (true);
  staged_ = {};
  staged_.length = static_cast<uint32_t>(packet.payload.size());
  staged_bytes_ = packet.payload.data();
  look_into(packet.payload);
  staged_.paced = options_.pacing != Pacing::kFast;
  switch (options_.pacing) {
    case Pacing::kFast:
      break;
    case Pacing::kMessages:
      staged_.due = at_rate(messages_read_);
      break;
    case Pacing::kPackets:
      staged_.due = at_rate(packets_read_);
      break;
    case Pacing::kOriginal:
      staged_.due = at_speed(packet.time);
      break;
  }
  packets_read_++;
  messages_read_ += staged_.messages;
  return true;
}

// Session and sequence of a packet that is passed through, so that heartbeats and the end of
// session continue it. What is not MoldUDP64 passes all the same.
void PublishSchedule::look_into(std::span<const uint8_t> payload) noexcept {
  staged_session_ = session_;
  after_staged_ = next_sequence_;
  if (!mold_blocks_complete(payload.data(), payload.size())) return;
  const uint64_t sequence = net::load_be64(payload.data() + 10);
  const uint16_t count = net::load_be16(payload.data() + 18);
  std::copy_n(payload.data(), kMoldSessionSize, staged_session_.begin());
  if (count == kMoldHeartbeat) {
    staged_.kind = PlanKind::kHeartbeat;
  } else if (count == kMoldEndOfSession) {
    staged_.kind = PlanKind::kEndOfSession;
  } else {
    staged_.messages = count;
  }
  const uint64_t after = sequence + staged_.messages;
  const bool same = can_control_ && staged_session_ == session_;
  after_staged_ = same ? std::max(next_sequence_, after) : after;
  staged_known_ = true;
}

int64_t PublishSchedule::next_due(int64_t now) noexcept {
  if (!is_staged_ && !exhausted_) {
    stage();
    // Not even a heartbeat meanwhile: it would be over at once.
    if (held_back_ && !is_staged_) return now + kHeldBack;
  }
  const int64_t beat =
      options_.heartbeat_ns && can_control_ ? last_sent_ + options_.heartbeat_ns : kNever;
  if (is_staged_) {
    const int64_t due = staged_.paced ? staged_.due : now;
    chosen_ = PlanKind::kData;
    if (now >= due || due <= beat) return due;
    chosen_ = PlanKind::kHeartbeat;
    return control_due_ = beat;
  }
  if (!can_control_ || source_ended_) return kNever;
  if (ends_ == 0) {
    const int64_t end = last_data_ + options_.linger_ns;
    if (now < end && beat < end) {
      chosen_ = PlanKind::kHeartbeat;
      return control_due_ = beat;
    }
    control_due_ = end;
  } else {
    control_due_ = first_end_ + int64_t{ends_} * options_.end_of_session_interval_ns;
  }
  chosen_ = PlanKind::kEndOfSession;
  return ends_ < options_.end_of_session ? control_due_ : kNever;
}

PlannedPacket PublishSchedule::take(uint8_t* payload, int64_t now) noexcept {
  last_sent_ = now;
  if (chosen_ == PlanKind::kData) {
    std::memcpy(payload, staged_bytes_, staged_.length);
    is_staged_ = false;
    last_data_ = now;
    session_ = staged_session_;
    next_sequence_ = after_staged_;
    can_control_ |= staged_known_;
    source_ended_ = packets_ && staged_.kind == PlanKind::kEndOfSession;
    taken_ += staged_.messages;
    if (!staged_.paced) staged_.due = now;
    return staged_;
  }
  if (chosen_ == PlanKind::kEndOfSession && ends_++ == 0) first_end_ = control_due_;
  mold_encode_header(payload, session_, next_sequence_,
                     chosen_ == PlanKind::kHeartbeat ? kMoldHeartbeat : kMoldEndOfSession);
  return {.kind = chosen_, .paced = true, .due = control_due_, .length = kMoldHeaderSize};
}

}  // namespace wp::feed
