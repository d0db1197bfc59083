// SPDX-License-Identifier: Apache-2.0
// The log against a list of everything appended, also while another thread reads; and that what
// lines and followers need is not overwritten.
#include "feed/message_log.h"

#include <doctest/doctest.h>

#include <string>
#include <thread>
#include <vector>

#include "core/error.h"
#include "feed/alloc_counter.h"
#include "feed/random.h"

namespace wp::feed {
namespace {

// Message n: its number's decimal digits, as often as a length made from n asks for.
std::string text_of(uint64_t n) {
  const size_t length = (n * 7919) % (n % 97 == 0 ? 5'000 : 60);
  std::string out;
  while (out.size() < length) out += std::to_string(n) + ".";
  return out.substr(0, length);
}

class Numbered final : public MessageSource {
 public:
  explicit Numbered(uint64_t messages) : messages_(messages) {}
  bool next(std::span<const uint8_t>& message) noexcept override {
    if (at_ == messages_) return false;
    text_ = text_of(at_++);
    message = {reinterpret_cast<const uint8_t*>(text_.data()), text_.size()};
    return true;
  }

 private:
  uint64_t messages_, at_ = 0;
  std::string text_;
};

struct Reader {
  std::vector<uint8_t> out = std::vector<uint8_t>(MessageLog::kMaxMessage + 7);
  MessageLog::Read last = MessageLog::Read::kThere;
  std::string read(const MessageLog& log, uint64_t n) {
    size_t length = 0;
    last = log.read(n, out.data(), length);
    return {out.begin(), out.begin() + static_cast<ptrdiff_t>(length)};
  }
};

TEST_CASE("what is published is there until newer messages take its place") {
  MessageLog log(std::make_shared<Numbered>(400'000), MessageLog::kLeastBytes);
  Reader reader;
  CHECK(reader.read(log, 0).empty());
  CHECK(reader.last == MessageLog::Read::kNotYet);
  for (uint64_t n = 0; n < 400'000; n++) {
    REQUIRE(log.can_append());
    REQUIRE(log.append());
    const auto view = log.view(n);
    REQUIRE(std::string(view.begin(), view.end()) == text_of(n));
    if (n % 1'000 != 0) continue;
    reader.read(log, n);
    CHECK(reader.last == MessageLog::Read::kNotYet);
    log.publish(n + 1);
    CHECK(reader.read(log, n) == text_of(n));
    const uint64_t oldest = log.begin();
    CHECK(reader.read(log, oldest) == text_of(oldest));
    CHECK(reader.last == MessageLog::Read::kThere);
    if (oldest == 0) continue;
    reader.read(log, oldest - 1);
    CHECK(reader.last == MessageLog::Read::kGone);
  }
  CHECK(log.begin() > 0);
  CHECK(log.end() - log.begin() > 30'000);  // of some 100 bytes in 4 MiB
  CHECK_FALSE(log.append());
}

TEST_CASE("a line that is behind, and a follower, hold the others back and lose nothing") {
  auto log =
      std::make_shared<MessageLog>(std::make_shared<Numbered>(500'000), MessageLog::kLeastBytes);
  LogSource leader(log), lagging(log);
  std::span<const uint8_t> message;
  uint64_t ahead = 0;
  while (leader.ready() && leader.next(message)) ahead++;
  CHECK(ahead > 30'000);
  CHECK(ahead < 500'000);
  CHECK(log->begin() == 0);
  for (uint64_t n = 0; n < 10'000; n++) {
    REQUIRE(lagging.ready());
    REQUIRE(lagging.next(message));
    REQUIRE(std::string(message.begin(), message.end()) == text_of(n));
  }
  CHECK(leader.ready());
  log->follow(0);
  CHECK_FALSE(leader.ready());
  log->follow(MessageLog::kNobody);
  // What the lagging line looks at stays while the leader goes on as far as it may.
  const auto held = message;
  while (leader.ready() && leader.next(message)) ahead++;
  CHECK(std::string(held.begin(), held.end()) == text_of(9'999));
  CHECK(ahead < 500'000);
}

TEST_CASE("messages that are too long have no number") {
  MessageLog log(std::make_shared<Numbered>(1'000), MessageLog::kLeastBytes, 40);
  uint64_t kept = 0, left_out = 0;
  while (log.append()) CHECK(log.view(kept++).size() <= 40);
  for (uint64_t n = 0; n < 1'000; n++) left_out += text_of(n).size() > 40;
  CHECK(log.too_long() == left_out);
  CHECK(kept == 1'000 - left_out);
}

TEST_CASE("a reader on another thread gets whole messages or learns that they are gone") {
  MessageLog log(std::make_shared<Numbered>(600'000), MessageLog::kLeastBytes);
  std::atomic<bool> done{false};
  uint64_t there = 0, gone = 0, wrong = 0;
  std::thread thread([&] {
    Reader reader;
    Random random(3);
    while (!done.load()) {
      // Near the end that is being overwritten.
      const uint64_t n = log.begin() + random.below(4);
      const std::string got = reader.read(log, n);
      if (reader.last == MessageLog::Read::kGone) gone++;
      if (reader.last != MessageLog::Read::kThere) continue;
      there++;
      wrong += got != text_of(n);
    }
  });
  for (uint64_t n = 0; log.append(); n++) log.publish(n + 1);
  done = true;
  thread.join();
  CHECK(wrong == 0);
  CHECK(there > 0);
  MESSAGE(there << " read, " << gone << " gone");
}

TEST_CASE("appending and reading do not allocate") {
  std::vector<uint8_t> file;
  for (int i = 0; i < 10'000; i++) {
    file.insert(file.end(), {0, 36});
    file.insert(file.end(), 36, static_cast<uint8_t>(i));
  }
  MessageLog log(std::make_shared<ItchFileSource>(std::span<const uint8_t>(file)),
                 MessageLog::kLeastBytes);
  Reader reader;
  size_t length = 0;
  const uint64_t before = wp::testing::allocations();
  for (uint64_t n = 0; log.append(); n++) {
    log.publish(n + 1);
    log.read(n, reader.out.data(), length);
  }
  CHECK(wp::testing::allocations() == before);
  CHECK(log.published() == 10'000);
  CHECK(length == 36);
}

TEST_CASE("a log without a source or too small is refused by name") {
  CHECK_THROWS_WITH_AS(MessageLog(nullptr, MessageLog::kLeastBytes), doctest::Contains("source"),
                       Error);
  CHECK_THROWS_WITH_AS(MessageLog(std::make_shared<Numbered>(1), 1'000),
                       doctest::Contains("history_bytes"), Error);
}

}  // namespace
}  // namespace wp::feed
