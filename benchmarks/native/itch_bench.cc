// SPDX-License-Identifier: Apache-2.0
// wirepath's ITCH decoder doing the work of the itch_decode yardstick: length-prefixed messages in
// memory to 64-byte records, into one array or over and over into a window of it; with --book also
// the order books of all instruments from them.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cinttypes>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include "bench.h"
#include "feed/book.h"
#include "feed/itch50.h"

namespace {

std::span<const uint8_t> load(const char* path) {
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  struct stat info;
  if (fd < 0 || fstat(fd, &info) != 0) {
    std::perror(path);
    std::exit(2);
  }
  const auto size = static_cast<size_t>(info.st_size);
  void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  for (size_t got = 0; memory != MAP_FAILED && got < size;) {
    const ssize_t n = read(fd, static_cast<uint8_t*>(memory) + got, size - got);
    if (n <= 0) memory = MAP_FAILED;
    got += static_cast<size_t>(n);
  }
  close(fd);
  if (memory == MAP_FAILED) {
    std::perror(path);
    std::exit(1);
  }
  return {static_cast<const uint8_t*>(memory), size};
}

uint64_t count(std::span<const uint8_t> data) {
  uint64_t n = 0;
  for (size_t at = 0; at + 2 <= data.size(); at += 2u + wp::net::load_be16(&data[at])) n++;
  return n;
}

uint64_t decode(std::span<const uint8_t> data, std::span<wp_record> out, wp::feed::Books* books,
                std::span<wp::feed::Bbo> bbo) {
  wp::feed::Itch50Decoder decoder;
  wp::feed::Itch50Context context{1, 0, 0, 0, 0};
  size_t at = 0;
  uint64_t written = 0;
  while (at < data.size()) {
    size_t consumed = 0;
    const size_t n = decoder.decode_frames(data.data() + at, data.size() - at, out.data(),
                                           out.size(), &consumed, context);
    written += n;
    if (books) books->apply(out.data(), n, bbo.data());
    asm volatile("" : : "r"(out.data()) : "memory");  // the records are wanted
    at += consumed;
    if (decoder.end() != wp::feed::ItchFileEnd::kNone) break;
  }
  return written;
}

}  // namespace

int main(int argc, char** argv) {
  const wp::bench::Arguments args(
      argc, argv, {{"file", ""}, {"repeat", "5"}, {"window", "0"}, {"cpu", "0"}, {"book", "0"}});
  wp::bench::pin(args.number("cpu"));
  const std::span<const uint8_t> data = load(args.text("file").c_str());
  const uint64_t messages = count(data);
  const uint64_t space = args.number("window") ? args.number("window") : messages + 1;
  void* memory = mmap(nullptr, space * sizeof(wp_record), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (memory == MAP_FAILED) {
    std::perror("records");
    return 1;
  }
  const std::span<wp_record> out(static_cast<wp_record*>(memory), space);
  std::unique_ptr<wp::feed::Books> books;
  if (args.number("book")) books = std::make_unique<wp::feed::Books>();
  std::vector<wp::feed::Bbo> bbo(books ? space : 0);
  // Untimed: warms the caches and the pages.
  const uint64_t records = decode(data, out, books.get(), bbo);
  std::vector<double> rates;
  for (uint64_t i = 0; i < args.number("repeat"); i++) {
    if (books) books->clear();
    const uint64_t start = wp::bench::now_ns();
    decode(data, out, books.get(), bbo);
    rates.push_back(static_cast<double>(messages) * 1e9 /
                    static_cast<double>(wp::bench::now_ns() - start));
  }
  std::ranges::sort(rates);
  const uint64_t bad = books ? books->counters().unknown_order + books->counters().crossed : 0;
  std::printf("{\"messages\": %" PRIu64 ", \"records\": %" PRIu64
              ", \"rate\": %.1f, \"bad\": %" PRIu64 ", \"orders\": %zu}\n",
              messages, records, rates[rates.size() / 2], bad, books ? books->order_count() : 0);
  return 0;
}
