// SPDX-License-Identifier: Apache-2.0
// The messages of a source, kept in bounded memory for those who send them: the lines of a
// publisher, which read them on the thread that appends them, and servers on threads of their
// own, which read what is published already and learn when it is gone.
//
// Messages are counted from 0. One thread appends; nobody waits for a lock. A reader of another
// thread copies first and asks afterwards whether the place was overwritten meanwhile; the words
// are atomics, so that this is no data race.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "feed/publish_source.h"

namespace wp::feed {

class MessageLog {
 public:
  static constexpr size_t kLeastBytes = size_t{4} << 20;
  static constexpr size_t kMaxMessage = 65'535;
  static constexpr uint64_t kNobody = UINT64_MAX;
  enum class Read : uint8_t { kThere, kGone, kNotYet };

  // bytes: what messages may take, rounded up to a power of two. max_message: longer ones are
  // left out, counted in too_long(), and have no number.
  MessageLog(std::shared_ptr<MessageSource> source, size_t bytes, size_t max_message = kMaxMessage);
  MessageLog(const MessageLog&) = delete;
  MessageLog& operator=(const MessageLog&) = delete;

  // --- the thread that appends ---
  // Appends the source's next message; false: it has none. After can_append().
  bool append() noexcept;
  // Whether what lines and followers still need leaves room for any message.
  bool can_append() const noexcept;
  uint64_t end() const noexcept { return end_.load(std::memory_order_relaxed); }
  std::span<const uint8_t> view(uint64_t n) const noexcept;
  // Messages below n may be given to others from now on.
  void publish(uint64_t n) noexcept {
    if (n > published_.load(std::memory_order_relaxed))
      published_.store(n, std::memory_order_release);
  }
  // A line lost message n: how many have lost it now.
  uint32_t count_lost(uint64_t n) noexcept { return ++lost_[n & index_mask_]; }
  // `next` is what the line reads next; it must live as long as the log is appended to.
  void add_line(const uint64_t* next) { lines_.push_back(next); }

  uint64_t too_long() const noexcept { return too_long_; }
  // Nothing more will be published.
  void finish() noexcept { finished_.store(true, std::memory_order_release); }

  // --- any thread ---
  uint64_t published() const noexcept { return published_.load(std::memory_order_acquire); }
  bool finished() const noexcept { return finished_.load(std::memory_order_acquire); }
  uint64_t begin() const noexcept { return begin_.load(std::memory_order_relaxed); }
  // Copies message n to `out`, which holds kMaxMessage bytes and seven more.
  Read read(uint64_t n, uint8_t* out, size_t& length) const noexcept;
  // Nothing from this message on is overwritten; kNobody: nobody follows.
  void follow(uint64_t n) noexcept { follower_.store(n, std::memory_order_release); }

 private:
  using Word = std::atomic<uint64_t>;
  static size_t words_of(size_t length) noexcept { return 1 + (length + 7) / 8; }
  uint64_t start_of(uint64_t n) const noexcept {
    return index_[n & index_mask_].load(std::memory_order_relaxed);
  }

  std::shared_ptr<MessageSource> source_;
  size_t max_message_;
  size_t words_;
  uint64_t index_mask_;
  std::unique_ptr<Word[]> store_;
  std::unique_ptr<Word[]> index_;  // where message n begins, in words since the start
  std::vector<uint8_t> lost_;      // by how many lines
  std::vector<const uint64_t*> lines_;
  uint64_t too_long_ = 0;
  uint64_t head_ = 0;  // words since the start
  alignas(64) std::atomic<uint64_t> begin_{0};
  std::atomic<uint64_t> end_{0};
  std::atomic<uint64_t> published_{0};
  std::atomic<bool> finished_{false};
  alignas(64) std::atomic<uint64_t> follower_{kNobody};
};

// A line's view of the log.
class LogSource final : public MessageSource {
 public:
  explicit LogSource(std::shared_ptr<MessageLog> log) : log_(std::move(log)) {
    log_->add_line(&next_);
  }
  bool next(std::span<const uint8_t>& message) noexcept override {
    if (next_ == log_->end() && !log_->append()) return false;
    message = log_->view(next_++);
    return true;
  }
  bool ready() const noexcept override { return next_ != log_->end() || log_->can_append(); }

 private:
  std::shared_ptr<MessageLog> log_;
  uint64_t next_ = 0;
};

}  // namespace wp::feed
