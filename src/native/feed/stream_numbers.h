// SPDX-License-Identifier: Apache-2.0
// Which session and sequence number the n-th message of a published stream has, and back.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "feed/publish_schedule.h"

namespace wp::feed {

class StreamNumbers {
 public:
  struct Part {
    uint64_t at;  // its first message, counted from 0
    uint64_t sequence;
    MoldSession session;
  };

  explicit StreamNumbers(const PublishScheduleOptions& o)
      : parts_{{0, o.first_sequence, mold_session(o.session)}} {
    for (const PublishEpoch& e : o.epochs)
      parts_.push_back({e.at, e.sequence, mold_session(e.session)});
  }

  const std::vector<Part>& parts() const { return parts_; }
  const Part& part_of(uint64_t n) const {
    size_t i = parts_.size() - 1;
    while (parts_[i].at > n) i--;
    return parts_[i];
  }
  uint64_t sequence_of(uint64_t n) const {
    const Part& part = part_of(n);
    return part.sequence + (n - part.at);
  }
  // One past the last message of the part that n is in.
  uint64_t end_of_part(uint64_t n) const {
    for (const Part& part : parts_)
      if (part.at > n) return part.at;
    return UINT64_MAX;
  }
  // The message that has this number in this session, the newest of those that do: of the parts
  // that `published` messages have come to. It may be yet to come. None: no such number.
  std::optional<uint64_t> message(const MoldSession& session, uint64_t sequence,
                                  uint64_t published) const {
    for (size_t i = parts_.size(); i-- != 0;) {
      const Part& part = parts_[i];
      if ((i != 0 && part.at >= published) || part.session != session || sequence < part.sequence)
        continue;
      const uint64_t n = part.at + (sequence - part.sequence);
      if (n >= part.at && n < end_of_part(part.at)) return n;
    }
    return {};
  }

 private:
  std::vector<Part> parts_;
};

}  // namespace wp::feed
