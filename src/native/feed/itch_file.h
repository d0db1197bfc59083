/* SPDX-License-Identifier: Apache-2.0
 *
 * Nasdaq day files: (u16 big-endian length, message), repeated. A reader over
 * bytes in memory (a mapped file) that yields frames and says how it ended.
 *
 * Source: Nasdaq BinaryFILE. Length 0 is the end of session; a file may also
 * stop at the last message, so an end at a frame's boundary is clean.
 */
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "net/bytes.h"

namespace wp::feed {

enum class ItchFileEnd : uint8_t {
  kNone,          // not at the end yet
  kClean,         // the bytes end at a frame's boundary
  kEndOfSession,  // a frame of length 0
  kTruncated,     // the last frame is incomplete
};

using net::load_be16;

class ItchFileReader {
 public:
  ItchFileReader(const uint8_t* data, size_t size) : begin_(data), at_(data), end_(data + size) {}
  explicit ItchFileReader(std::span<const uint8_t> bytes)
      : ItchFileReader(bytes.data(), bytes.size()) {}

  /* The next frame's message, or false with end() saying why. */
  bool next(std::span<const uint8_t>& message) {
    const size_t left = static_cast<size_t>(end_ - at_);
    if (left < 2) [[unlikely]] {
      return stop(left == 0 ? ItchFileEnd::kClean : ItchFileEnd::kTruncated);
    }
    const size_t length = load_be16(at_);
    if (length == 0) [[unlikely]] {
      return stop(ItchFileEnd::kEndOfSession);
    }
    if (length > left - 2) [[unlikely]]
      return stop(ItchFileEnd::kTruncated);
    message = {at_ + 2, length};
    at_ += 2 + length;
    return true;
  }

  /* Bytes consumed: whole frames, and the end-of-session mark. */
  size_t offset() const {
    return static_cast<size_t>(at_ - begin_) + (reason_ == ItchFileEnd::kEndOfSession ? 2 : 0);
  }
  ItchFileEnd end() const { return reason_; }
  void rewind() {
    at_ = begin_;
    reason_ = ItchFileEnd::kNone;
  }

 private:
  bool stop(ItchFileEnd reason) {
    reason_ = reason;
    return false;
  }

  const uint8_t* begin_;
  const uint8_t* at_;
  const uint8_t* end_;
  ItchFileEnd reason_ = ItchFileEnd::kNone;
};

}  // namespace wp::feed
