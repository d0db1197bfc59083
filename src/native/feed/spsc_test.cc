/* SPDX-License-Identifier: Apache-2.0 */
#include "feed/spsc.h"

#include <doctest/doctest.h>

#include <string>
#include <thread>

namespace wp::feed {
namespace {

TEST_CASE("a queue holds what it has room for, in order") {
  SpscQueue<int> queue(3);  // rounded up to 4
  for (int i = 0; i < 4; ++i) CHECK(queue.put(i));
  CHECK_FALSE(queue.put(4));
  int out = -1;
  for (int i = 0; i < 4; ++i) {
    CHECK(queue.take(&out));
    CHECK(out == i);
  }
  CHECK_FALSE(queue.take(&out));
}

std::string bytes(size_t n, int seed) {
  std::string out(n, ' ');
  for (size_t i = 0; i < n; ++i) out[i] = static_cast<char>(seed + static_cast<int>(i) * 7);
  return out;
}

TEST_CASE("messages of any length go round the ring's end whole, and are refused when full") {
  SpscMessages<uint64_t> mail(512);
  uint64_t put = 0, taken = 0;
  bool refused = false;
  for (int step = 0; step < 20'000; ++step) {
    const size_t n = static_cast<size_t>(step * 37 % 200);
    const std::string text = bytes(n, static_cast<int>(put));
    if (mail.put(put, reinterpret_cast<const uint8_t*>(text.data()), n)) {
      ++put;
    } else {
      refused = true;
    }
    if (step % 3 == 0) continue;
    mail.take([&](uint64_t number, const uint8_t* p, size_t length) {
      CHECK(number == taken);
      CHECK(std::string(reinterpret_cast<const char*>(p), length) ==
            bytes(length, static_cast<int>(number)));
      ++taken;
    });
  }
  while (mail.take([&](uint64_t number, const uint8_t*, size_t) { CHECK(number == taken++); })) {
  }
  CHECK(refused);
  CHECK(put == taken);
  CHECK(put > 10'000);
  CHECK(mail.empty());
}

TEST_CASE("between two threads nothing is lost, repeated or torn") {
  constexpr uint64_t kMessages = 200'000;
  SpscMessages<uint64_t> mail(4096);
  std::thread sender([&] {
    uint8_t data[64];
    for (uint64_t i = 0; i < kMessages;) {
      const size_t n = i % 61;
      std::memset(data, static_cast<int>(i & 255), n);
      if (mail.put(i, data, n)) {
        ++i;
      } else {
        std::this_thread::yield();
      }
    }
  });
  uint64_t expected = 0, wrong = 0;
  while (expected < kMessages) {
    const bool one = mail.take([&](uint64_t i, const uint8_t* p, size_t n) {
      wrong += i != expected || n != i % 61;
      for (size_t k = 0; k < n; ++k) wrong += p[k] != (i & 255);
      ++expected;
    });
    if (!one) std::this_thread::yield();
  }
  sender.join();
  CHECK(wrong == 0);
  CHECK(mail.empty());
}

}  // namespace
}  // namespace wp::feed
