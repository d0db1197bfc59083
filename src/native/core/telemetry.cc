// SPDX-License-Identifier: Apache-2.0
#include "core/telemetry.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <new>
#include <utility>

#include "core/error.h"

namespace wp {
namespace {
constexpr uint64_t kMagic = 0x33544154'53505704;  // "\4WPSTAT3": change when the layout does
}

struct Telemetry::Header {
  uint64_t magic;
  uint64_t pid;
  std::atomic<uint64_t> entries;
  uint64_t next;  // first free byte
};

struct Telemetry::Entry {
  char name[kNameBytes];
  uint32_t kind;  // 0 = free
  std::atomic<uint32_t> version;
  uint64_t offset;

  void open() noexcept {
    version.store(version.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_release);
  }
  void close() noexcept {
    version.store(version.load(std::memory_order_relaxed) + 1, std::memory_order_release);
  }
};

Telemetry::Header* Telemetry::header() const noexcept {
  return static_cast<Header*>(memory_.data());
}

Telemetry::Entry* Telemetry::table() const noexcept {
  return reinterpret_cast<Entry*>(static_cast<uint8_t*>(memory_.data()) + 64);
}

Telemetry::Telemetry(const std::string& name) : memory_(SharedMemory::create(name, kBytes)) {
  static_assert(64 + kEntries * sizeof(Entry) < kBytes / 2);
  auto* h = new (memory_.data()) Header{};
  h->pid = static_cast<uint64_t>(getpid());
  h->next = 64 + kEntries * sizeof(Entry);
  h->magic = kMagic;
}

Telemetry::Telemetry(SharedMemory memory) : memory_(std::move(memory)) {
  if (memory_.size() != kBytes || header()->magic != kMagic)
    throw Error(ErrorKind::kIo, "\"" + memory_.name() + "\" is not a wirepath counter segment",
                "or it was written by another version of wirepath");
}

std::unique_ptr<Telemetry> Telemetry::attach(const std::string& name, bool writable) {
  return std::unique_ptr<Telemetry>(new Telemetry(SharedMemory::attach(name, writable)));
}

uint64_t Telemetry::offset_of(const void* cell) const noexcept {
  return static_cast<uint64_t>(static_cast<const uint8_t*>(cell) -
                               static_cast<const uint8_t*>(memory_.data()));
}

void* Telemetry::take(size_t bytes, bool tap) {
  Header* h = header();
  bytes = (bytes + 63) & ~size_t{63};
  used_.reserve(used_.size() + 1);
  free_.reserve(used_.size() + free_.size() + 1);  // release() must not allocate
  const auto fits =
      std::ranges::find_if(free_, [&](const Block& b) { return b.bytes == bytes && b.tap == tap; });
  if (fits != free_.end()) {
    used_.push_back(*fits);
    *fits = free_.back();
    free_.pop_back();
  } else {
    if (h->next + bytes > memory_.size())
      throw Error(ErrorKind::kIo, "the counter segment is full", "open fewer ports or workers");
    used_.push_back({h->next, bytes, tap});
    h->next += bytes;
  }
  return static_cast<uint8_t*>(memory_.data()) + used_.back().offset;
}

std::string Telemetry::unique(const std::string& group, size_t longest) const {
  const uint64_t n = header()->entries.load(std::memory_order_relaxed);
  const auto taken = [&](const std::string& candidate) {
    for (uint64_t i = 0; i < n; i++) {
      if (table()[i].kind == 0) continue;
      const std::string_view have = table()[i].name;
      // As a whole, or as the group of a cell; "port/x" stands beside "port/x/q0".
      if (have == candidate || have.substr(0, have.rfind('/')) == candidate) return true;
    }
    return false;
  };
  constexpr std::string_view kCut = "...";
  constexpr size_t kSuffix = 6;  // "#99999"
  const size_t room = kNameBytes - 1 - longest - kSuffix;
  std::string name = group;
  if (name.size() > room) name.replace(room / 2, name.size() - room + kCut.size(), kCut);
  std::string candidate = name;
  for (int suffix = 2; taken(candidate); suffix++) candidate = name + "#" + std::to_string(suffix);
  return candidate;
}

void Telemetry::publish(const std::string& name, Kind kind, const void* cell) {
  Header* h = header();
  const uint64_t n = h->entries.load(std::memory_order_relaxed);
  uint64_t at = 0;
  while (at < n && table()[at].kind != 0) at++;
  if (at == kEntries)
    throw Error(ErrorKind::kIo, "the counter directory is full", "open fewer ports or workers");
  Entry& e = table()[at];
  e.open();
  std::memset(e.name, 0, sizeof e.name);
  std::memcpy(e.name, name.data(), std::min(name.size(), sizeof e.name - 1));
  e.kind = static_cast<uint32_t>(kind);
  e.offset = offset_of(cell);
  e.close();
  if (at == n) h->entries.store(n + 1, std::memory_order_release);
}

Counter* Telemetry::counters(const std::string& group, std::span<const char* const> names) {
  const std::lock_guard lock(mutex_);
  size_t longest = 0;
  for (const char* name : names) longest = std::max(longest, 1 + std::strlen(name));
  const std::string unique_group = unique(group, longest);
  auto* cells = static_cast<Counter*>(take(names.size() * sizeof(Counter)));
  std::uninitialized_value_construct_n(cells, names.size());
  for (size_t i = 0; i < names.size(); i++)
    publish(unique_group + "/" + names[i], Kind::kCounter, &cells[i]);
  return cells;
}

Histogram* Telemetry::histogram(const std::string& name) {
  const std::lock_guard lock(mutex_);
  auto* h = new (take(sizeof(Histogram))) Histogram();
  publish(unique(name, 0), Kind::kHistogram, h);
  return h;
}

TapCell* Telemetry::tap(const std::string& spec) {
  const std::lock_guard lock(mutex_);
  auto* cell = new (take(sizeof(TapCell), true)) TapCell();
  publish(unique("tap/" + spec, 0), Kind::kTap, cell);
  return cell;
}

void Telemetry::release(const void* cells) noexcept {
  const std::lock_guard lock(mutex_);
  // What a forked child drops is its parent's still.
  if (header()->pid != static_cast<uint64_t>(getpid())) return;
  const auto block = std::ranges::find(used_, offset_of(cells), &Block::offset);
  if (block == used_.end()) return;
  const uint64_t n = header()->entries.load(std::memory_order_relaxed);
  for (uint64_t i = 0; i < n; i++) {
    Entry& e = table()[i];
    if (e.kind == 0 || e.offset - block->offset >= block->bytes) continue;
    e.open();
    e.kind = 0;
    e.close();
  }
  if (block->tap)  // whoever had asked learns that the port is gone
    reinterpret_cast<TapCell*>(static_cast<uint8_t*>(memory_.data()) + block->offset)
        ->request.store(0);
  free_.push_back(*block);
  *block = used_.back();
  used_.pop_back();
}

std::vector<TelemetryEntry> Telemetry::entries() const {
  const uint64_t n =
      std::min<uint64_t>(header()->entries.load(std::memory_order_acquire), kEntries);
  std::vector<TelemetryEntry> out;
  out.reserve(n);
  for (uint64_t i = 0; i < n; i++) {
    const Entry& e = table()[i];
    const uint32_t version = e.version.load(std::memory_order_acquire);
    const auto kind = static_cast<Kind>(e.kind);
    const uint64_t offset = e.offset;
    const size_t bytes = kind == Kind::kHistogram ? sizeof(Histogram)
                         : kind == Kind::kTap     ? sizeof(TapCell)
                                                  : sizeof(Counter);
    // Free, or another process wrote it: trust nothing.
    if (e.kind == 0 || offset % 8 != 0 || offset > memory_.size() - bytes) continue;
    uint8_t* cell = static_cast<uint8_t*>(memory_.data()) + offset;
    TelemetryEntry entry{std::string(e.name, strnlen(e.name, sizeof e.name)), kind, 0, nullptr,
                         nullptr};
    if (kind == Kind::kHistogram)
      entry.histogram = reinterpret_cast<const Histogram*>(cell);
    else if (kind == Kind::kTap)
      entry.tap = reinterpret_cast<TapCell*>(cell);
    else
      entry.value = reinterpret_cast<const Counter*>(cell)->value();
    std::atomic_thread_fence(std::memory_order_acquire);
    // Changed meanwhile: it has just come or gone, and the next look shows which.
    if (version % 2 != 0 || e.version.load(std::memory_order_relaxed) != version) continue;
    out.push_back(std::move(entry));
  }
  return out;
}

Telemetry& Telemetry::process() {
  static std::mutex mutex;
  // A fork's copy of the parent's segment stays mapped: inherited ports write to it.
  static std::vector<std::unique_ptr<Telemetry>> telemetry;
  static pid_t owner = 0;
  const std::lock_guard lock(mutex);
  if (owner != getpid()) {
    SharedMemory::remove_abandoned();
    try {
      telemetry.push_back(std::make_unique<Telemetry>(std::to_string(getpid())));
    } catch (const Error&) {
      // No /dev/shm to write to: counters stay inside the process.
      telemetry.push_back(std::make_unique<Telemetry>(std::string()));
    }
    owner = getpid();
  }
  return *telemetry.back();
}

}  // namespace wp
