// SPDX-License-Identifier: Apache-2.0
#include "capture/capture_session.h"

#include <time.h>

#include <algorithm>
#include <utility>

#include "core/clock.h"

namespace wp::capture {
namespace {
constexpr int64_t kRenewEvery = 100'000'000;
constexpr timespec kNap{0, 500'000};  // between two looks at empty rings
constexpr int kLastTries = 40;        // of a pipe that is full
constexpr uint64_t kBetweenLooksAtTheClock = 1024;
}  // namespace

CaptureSession::CaptureSession(std::vector<std::shared_ptr<FrameSource>> sources,
                               std::vector<uint32_t> interfaces,
                               std::unique_ptr<CaptureOutput> output)
    : sources_(std::move(sources)), output_(std::move(output)) {
  uint32_t first = 0;
  for (size_t i = 0; i < sources_.size(); i++) {
    first_.push_back(first);
    for (uint32_t s = 0; s < sources_[i]->streams(); s++)
      streams_.push_back({sources_[i].get(), s, first, interfaces.at(i)});
    first += interfaces.at(i);
  }
  devices_.resize(first);
}

bool CaptureSession::renew() noexcept {
  bool more = false;
  for (const auto& source : sources_) more |= source->renew();
  renewed_ = Clock::steady();
  return more;
}

uint64_t CaptureSession::drain(uint64_t most) {
  uint64_t moved = 0;
  while ((most == 0 || taken_ < most) && !output_->backed_up()) {
    Stream* oldest = nullptr;
    for (Stream& stream : streams_) {
      if (!stream.head) stream.head = stream.source->peek(stream.number);
      if (stream.head && (!oldest || stream.head->timestamp < oldest->head->timestamp))
        oldest = &stream;
    }
    if (!oldest) break;
    const uint32_t within = std::min<uint32_t>(oldest->head->interface, oldest->interfaces - 1);
    output_->append(oldest->first_interface + within, *oldest->head);
    oldest->source->consume(oldest->number, oldest->head);
    oldest->head = nullptr;
    taken_++;
    if (++moved == kBetweenLooksAtTheClock) break;
  }
  return moved;
}

bool CaptureSession::run(int64_t duration_ns, uint64_t most) {
  const int64_t end = Clock::steady() + duration_ns;
  for (int64_t now = Clock::steady(); now < end && !ended_; now = Clock::steady()) {
    if (now - renewed_ >= kRenewEvery) ended_ = !renew();
    if (most != 0 && taken_ >= most) ended_ = true;
    if (drain(most) != 0) continue;
    output_->flush();
    nanosleep(&kNap, nullptr);
  }
  tell_counts();
  output_->flush();
  return !ended_;
}

void CaptureSession::finish(uint64_t most) {
  for (const auto& source : sources_) source->stop();
  for (int tries = 0; tries < kLastTries; tries++) {
    while (drain(most) != 0) continue;
    if (!output_->backed_up()) break;
    output_->flush();
  }
  tell_counts();
  output_->finish(Clock::realtime());
}

void CaptureSession::set_device_counts(uint32_t interface, std::optional<uint64_t> received,
                                       std::optional<uint64_t> dropped, std::string comment) {
  devices_.at(interface) = {received, dropped, std::move(comment)};
}

SourceCounts CaptureSession::counts(uint32_t interface) const {
  size_t source = sources_.size() - 1;
  while (first_[source] > interface) source--;
  return sources_[source]->counts(interface - first_[source]);
}

void CaptureSession::tell_counts() {
  for (uint32_t i = 0; i < devices_.size(); i++) {
    const SourceCounts counted = counts(i);
    output_->set_statistics(i, {.received = devices_[i].received,
                                .dropped = devices_[i].dropped,
                                .accepted = counted.seen - counted.filtered,
                                .tap_dropped = counted.dropped,
                                .comment = devices_[i].comment});
  }
}

}  // namespace wp::capture
