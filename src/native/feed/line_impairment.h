// SPDX-License-Identifier: Apache-2.0
// What a bad network does to the packets of one line, from a seed: which are lost, repeated, or
// overtaken. The same seed and the same packets have the same fate, whenever they are sent.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "core/error.h"
#include "feed/random.h"

namespace wp::feed {

struct ImpairmentOptions {
  // Each of a data packet, 0 to 1. Heartbeats and ends of session always go out.
  double loss = 0;
  double burst_loss = 0;         // a burst of losses begins
  uint32_t burst_packets = 50;   // its length, 1 to 1000000
  double duplicate = 0;          // sent twice
  double reorder = 0;            // held until `reorder_packets` others have passed
  uint32_t reorder_packets = 3;  // 1 to 1000
  uint64_t seed = 1;

  bool any() const { return loss > 0 || burst_loss > 0 || duplicate > 0 || reorder > 0; }
  void validate() const {  // throws wp::Error naming the field
    const auto rate = [](const char* field, double value) {
      if (!(value >= 0 && value <= 1)) throw config_error(field, std::to_string(value), "0 to 1");
    };
    rate("loss", loss);
    rate("burst_loss", burst_loss);
    rate("duplicate", duplicate);
    rate("reorder", reorder);
    if (burst_packets < 1 || burst_packets > 1'000'000)
      throw config_error("burst_packets", std::to_string(burst_packets), "1 to 1000000");
    if (reorder_packets < 1 || reorder_packets > 1'000)
      throw config_error("reorder_packets", std::to_string(reorder_packets), "1 to 1000");
  }
};

enum class Fate : uint8_t { kSent, kLost, kTwice, kHeld };

class Impairment {
 public:
  explicit Impairment(const ImpairmentOptions& o)
      : random_(o.seed),
        loss_(below(o.loss)),
        burst_loss_(below(o.burst_loss)),
        duplicate_(below(o.duplicate)),
        reorder_(below(o.reorder)),
        burst_packets_(o.burst_packets) {}

  // Of the next packet. As many draws for each, so that one rate does not shift another's hits.
  Fate next() noexcept {
    const bool lost = draw() < loss_;
    const bool begins = draw() < burst_loss_;
    const bool twice = draw() < duplicate_;
    const bool held = draw() < reorder_;
    if (burst_ == 0 && begins) burst_ = burst_packets_;
    if (burst_ != 0) {
      burst_--;
      return Fate::kLost;
    }
    if (lost) return Fate::kLost;
    if (held) return Fate::kHeld;
    return twice ? Fate::kTwice : Fate::kSent;
  }

 private:
  static constexpr double kOne = 9007199254740992.0;  // 2^53: exact in a double
  static uint64_t below(double rate) { return static_cast<uint64_t>(rate * kOne); }
  uint64_t draw() noexcept { return random_.next() >> 11; }

  Random random_;
  uint64_t loss_, burst_loss_, duplicate_, reorder_;
  uint32_t burst_packets_;
  uint32_t burst_ = 0;  // packets still to lose
};

// Ranges of message numbers: the first so many, and how many there were.
class RangeList {
 public:
  struct Range {
    uint64_t first, last;  // both inclusive
    bool operator==(const Range&) const = default;
  };
  explicit RangeList(size_t most) : most_(most) { ranges_.reserve(most); }

  void add(uint64_t first, uint64_t n) noexcept {
    if (n == 0) return;
    messages_ += n;
    if (total_ != 0 && last_ + 1 == first) {
      last_ += n;
      if (total_ == ranges_.size()) ranges_.back().last = last_;
      return;
    }
    total_++;
    last_ = first + n - 1;
    if (ranges_.size() < most_) ranges_.push_back({first, last_});
  }

  // The same in ascending order, with neighbours joined, where they came in another one.
  RangeList sorted() const {
    RangeList out(most_);
    std::vector<Range> ranges = ranges_;
    std::sort(ranges.begin(), ranges.end(),
              [](const Range& a, const Range& b) { return a.first < b.first; });
    for (const Range& r : ranges) out.add(r.first, r.last - r.first + 1);
    out.total_ += total_ - ranges_.size();
    out.messages_ = messages_;
    return out;
  }

  const std::vector<Range>& ranges() const { return ranges_; }
  uint64_t total() const { return total_; }        // ranges, with those not remembered
  uint64_t messages() const { return messages_; }  // in all of them

 private:
  size_t most_;
  std::vector<Range> ranges_;
  uint64_t total_ = 0, messages_ = 0, last_ = 0;
};

}  // namespace wp::feed
