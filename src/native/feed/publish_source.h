// SPDX-License-Identifier: Apache-2.0
// What a publisher sends: messages to be packed into MoldUDP64 packets (a generated day, a file
// of length-prefixed messages), or packets that go out as they are (a capture).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "feed/itch_file.h"
#include "feed/itch_generator.h"

namespace wp::feed {

class MessageSource {
 public:
  virtual ~MessageSource() = default;
  // The next message, valid until the next call; false at the end. Called by one thread.
  virtual bool next(std::span<const uint8_t>& message) noexcept = 0;
  // False: next() must wait until somebody else has made room.
  virtual bool ready() const noexcept { return true; }
};

struct TimedPacket {
  int64_t time = 0;                  // ns since any epoch: only differences count
  std::span<const uint8_t> payload;  // of UDP
};

class PacketSource {
 public:
  virtual ~PacketSource() = default;
  virtual bool next(TimedPacket& packet) noexcept = 0;  // as above
};

class GeneratorSource final : public MessageSource {
 public:
  explicit GeneratorSource(const ItchGeneratorOptions& options) : generator_(options) {}
  bool next(std::span<const uint8_t>& message) noexcept override {
    return generator_.next(message);
  }
  const ItchGenerator& generator() const noexcept { return generator_; }

 private:
  ItchGenerator generator_;
};

// Length-prefixed messages (u16 big-endian), from memory or from a mapped file.
class ItchFileSource final : public MessageSource {
 public:
  // The bytes stay the caller's and outlive the source.
  explicit ItchFileSource(std::span<const uint8_t> bytes) : reader_(bytes) {}
  explicit ItchFileSource(const std::string& path);  // maps it; throws wp::Error
  ~ItchFileSource() override;
  ItchFileSource(const ItchFileSource&) = delete;
  ItchFileSource& operator=(const ItchFileSource&) = delete;

  bool next(std::span<const uint8_t>& message) noexcept override { return reader_.next(message); }
  // How it ended: kTruncated = an incomplete last frame was left out.
  ItchFileEnd end() const noexcept { return reader_.end(); }

 private:
  void* mapped_ = nullptr;
  size_t size_ = 0;
  ItchFileReader reader_;
};

// Packets held in memory.
class PacketListSource final : public PacketSource {
 public:
  void add(int64_t time, std::span<const uint8_t> payload) {
    entries_.push_back({time, bytes_.size(), payload.size()});
    bytes_.insert(bytes_.end(), payload.begin(), payload.end());
  }
  bool next(TimedPacket& packet) noexcept override {
    if (at_ == entries_.size()) return false;
    const Entry& entry = entries_[at_++];
    packet = {entry.time, {bytes_.data() + entry.offset, entry.size}};
    return true;
  }
  size_t size() const noexcept { return entries_.size(); }

 private:
  struct Entry {
    int64_t time;
    size_t offset, size;
  };
  std::vector<Entry> entries_;
  std::vector<uint8_t> bytes_;
  size_t at_ = 0;
};

}  // namespace wp::feed
