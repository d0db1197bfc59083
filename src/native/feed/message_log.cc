// SPDX-License-Identifier: Apache-2.0
#include "feed/message_log.h"

#include <bit>
#include <utility>

#include "core/error.h"

namespace wp::feed {

MessageLog::MessageLog(std::shared_ptr<MessageSource> source, size_t bytes, size_t max_message)
    : source_(std::move(source)), max_message_(std::min(max_message, kMaxMessage)) {
  if (!source_) throw config_error("source", "none", "a source of messages");
  if (bytes < kLeastBytes || bytes > size_t{1} << 40)
    throw config_error("history_bytes", std::to_string(bytes), "4194304 (4 MiB) to 2^40");
  words_ = std::bit_ceil(bytes) / sizeof(Word);
  const size_t entries = std::max(words_ / 4, size_t{1} << 18);  // ITCH: five words and more
  index_mask_ = entries - 1;
  store_ = std::make_unique<Word[]>(words_);
  index_ = std::make_unique<Word[]>(entries);
  lost_.resize(entries);
}

// The place of the longest message, and as much again for what is left free where the store ends.
bool MessageLog::can_append() const noexcept {
  uint64_t needed = follower_.load(std::memory_order_acquire);
  // A line still looks at the message that it read last.
  for (const uint64_t* next : lines_) needed = std::min(needed, *next ? *next - 1 : 0);
  const uint64_t end = this->end();
  if (needed >= end) return true;
  constexpr size_t kRoom = 2 * (1 + (kMaxMessage + 7) / 8);
  return end - needed < index_mask_ && head_ + kRoom <= start_of(needed) + words_;
}

bool MessageLog::append() noexcept {
  std::span<const uint8_t> message;
  for (;;) {
    if (!source_->next(message)) return false;
    if (message.size() <= max_message_) break;
    too_long_++;
  }
  const size_t length = message.size();
  const size_t words = words_of(length);
  const size_t mask = words_ - 1;
  if ((head_ & mask) + words > words_) head_ += words_ - (head_ & mask);
  const uint64_t n = end();
  uint64_t begin = this->begin();
  while (begin < n && (n - begin > index_mask_ || start_of(begin) + words_ < head_ + words))
    begin++;
  begin_.store(begin, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_release);  // readers see this before what follows
  Word* const at = store_.get() + (head_ & mask);
  at[0].store(length, std::memory_order_relaxed);
  for (size_t i = 0; i + 1 < words; i++) {
    uint64_t word = 0;
    std::memcpy(&word, message.data() + 8 * i, std::min<size_t>(8, length - 8 * i));
    at[1 + i].store(word, std::memory_order_relaxed);
  }
  index_[n & index_mask_].store(head_, std::memory_order_relaxed);
  lost_[n & index_mask_] = 0;
  head_ += words;
  end_.store(n + 1, std::memory_order_release);
  return true;
}

std::span<const uint8_t> MessageLog::view(uint64_t n) const noexcept {
  const Word* const at = store_.get() + (start_of(n) & (words_ - 1));
  return {reinterpret_cast<const uint8_t*>(at + 1), at[0].load(std::memory_order_relaxed)};
}

MessageLog::Read MessageLog::read(uint64_t n, uint8_t* out, size_t& length) const noexcept {
  if (n >= published()) return Read::kNotYet;
  if (n < begin()) return Read::kGone;
  const uint64_t start = start_of(n) & (words_ - 1);
  const uint64_t stated = store_[start].load(std::memory_order_relaxed);
  // What is overwritten meanwhile may say anything.
  if (stated > kMaxMessage || start + words_of(stated) > words_) return Read::kGone;
  for (size_t i = 0; i + 1 < words_of(stated); i++) {
    const uint64_t word = store_[start + 1 + i].load(std::memory_order_relaxed);
    std::memcpy(out + 8 * i, &word, 8);
  }
  std::atomic_thread_fence(std::memory_order_acquire);
  if (n < begin()) return Read::kGone;
  length = stated;
  return Read::kThere;
}

}  // namespace wp::feed
