// SPDX-License-Identifier: Apache-2.0
#include "core/telemetry.h"

#include <unistd.h>

#include <cstring>
#include <memory>
#include <new>
#include <utility>

#include "core/error.h"

namespace wp {
namespace {
constexpr uint64_t kMagic = 0x31544154'53505704;  // "\4WPSTAT1": change when the layout does
}

struct Telemetry::Header {
  uint64_t magic;
  uint64_t pid;
  std::atomic<uint64_t> entries;
  uint64_t next;  // first free byte
};

struct Telemetry::Entry {
  char name[kNameBytes];
  uint32_t kind;
  uint32_t reserved;
  uint64_t offset;
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

std::unique_ptr<Telemetry> Telemetry::attach(const std::string& name) {
  return std::unique_ptr<Telemetry>(new Telemetry(SharedMemory::attach(name, false)));
}

void* Telemetry::take(size_t bytes) {
  Header* h = header();
  const uint64_t at = (h->next + 63) & ~uint64_t{63};
  if (at + bytes > memory_.size())
    throw Error(ErrorKind::kIo, "the counter segment is full", "open fewer ports or workers");
  h->next = (at + bytes + 63) & ~uint64_t{63};
  return static_cast<uint8_t*>(memory_.data()) + at;
}

std::string Telemetry::unique(const std::string& name) const {
  const uint64_t n = header()->entries.load(std::memory_order_relaxed);
  const auto taken = [&](const std::string& candidate) {
    for (uint64_t i = 0; i < n; i++) {
      const std::string_view have = table()[i].name;
      if (have.starts_with(candidate) &&
          (have.size() == candidate.size() || have[candidate.size()] == '/'))
        return true;
    }
    return false;
  };
  std::string candidate = name;
  for (int suffix = 2; taken(candidate); suffix++) candidate = name + "#" + std::to_string(suffix);
  return candidate;
}

void Telemetry::publish(const std::string& name, Kind kind, const void* cell) {
  Header* h = header();
  const uint64_t n = h->entries.load(std::memory_order_relaxed);
  if (n == kEntries)
    throw Error(ErrorKind::kIo, "the counter directory is full", "open fewer ports or workers");
  Entry& e = table()[n];
  std::memset(e.name, 0, sizeof e.name);
  std::memcpy(e.name, name.data(), std::min(name.size(), sizeof e.name - 1));
  e.kind = static_cast<uint32_t>(kind);
  e.offset = static_cast<uint64_t>(static_cast<const uint8_t*>(cell) -
                                   static_cast<const uint8_t*>(memory_.data()));
  h->entries.store(n + 1, std::memory_order_release);
}

Counter* Telemetry::counters(const std::string& group, std::span<const char* const> names) {
  const std::lock_guard lock(mutex_);
  const std::string unique_group = unique(group);
  auto* cells = static_cast<Counter*>(take(names.size() * sizeof(Counter)));
  std::uninitialized_value_construct_n(cells, names.size());
  for (size_t i = 0; i < names.size(); i++)
    publish(unique_group + "/" + names[i], Kind::kCounter, &cells[i]);
  return cells;
}

Histogram* Telemetry::histogram(const std::string& name) {
  const std::lock_guard lock(mutex_);
  auto* h = new (take(sizeof(Histogram))) Histogram();
  publish(unique(name), Kind::kHistogram, h);
  return h;
}

std::vector<TelemetryEntry> Telemetry::entries() const {
  const uint64_t n =
      std::min<uint64_t>(header()->entries.load(std::memory_order_acquire), kEntries);
  std::vector<TelemetryEntry> out;
  out.reserve(n);
  for (uint64_t i = 0; i < n; i++) {
    const Entry& e = table()[i];
    const auto kind = static_cast<Kind>(e.kind);
    const size_t bytes = kind == Kind::kHistogram ? sizeof(Histogram) : sizeof(Counter);
    if (e.offset + bytes > memory_.size()) continue;  // another process wrote it: trust nothing
    const void* cell = static_cast<const uint8_t*>(memory_.data()) + e.offset;
    out.push_back({std::string(e.name, strnlen(e.name, sizeof e.name)), kind,
                   kind == Kind::kHistogram ? 0 : static_cast<const Counter*>(cell)->value(),
                   kind == Kind::kHistogram ? static_cast<const Histogram*>(cell) : nullptr});
  }
  return out;
}

Telemetry& Telemetry::process() {
  static Telemetry telemetry([] {
    SharedMemory::remove_abandoned();
    try {
      return SharedMemory::create(std::to_string(getpid()), kBytes).name();
    } catch (const Error&) {
      return std::string();  // no /dev/shm to write to: counters stay inside the process
    }
  }());
  return telemetry;
}

}  // namespace wp
