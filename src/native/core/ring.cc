// SPDX-License-Identifier: Apache-2.0
#include "core/ring.h"

#include <sched.h>
#include <time.h>

#include <algorithm>
#include <bit>
#include <new>
#include <utility>

#include "core/error.h"
#include "core/pause.h"

namespace wp {
namespace {
constexpr uint64_t kMagic = 0x31474E49'52505704;  // "\4WPRING1": change when the layout does

uint64_t checked_capacity(uint64_t capacity) {
  if (capacity < 2 || capacity > (1ULL << 30) || !std::has_single_bit(capacity))
    throw config_error("capacity", std::to_string(capacity), "a power of two from 2 to 2^30");
  return capacity;
}
}  // namespace

Ring::Ring(uint64_t capacity, FullPolicy policy, const std::string& name)
    : memory_(SharedMemory::create(name,
                                   sizeof(Shared) + checked_capacity(capacity) * sizeof(Record))) {
  shared_ = new (memory_.data()) Shared{};
  shared_->capacity = capacity;
  shared_->policy = static_cast<uint32_t>(policy);
  shared_->record_bytes = sizeof(Record);
  slots_ = reinterpret_cast<Record*>(static_cast<uint8_t*>(memory_.data()) + sizeof(Shared));
  capacity_ = capacity;
  mask_ = capacity - 1;
  policy_ = policy;
  std::atomic_thread_fence(std::memory_order_release);
  shared_->magic = kMagic;
}

Ring::Ring(SharedMemory memory) : memory_(std::move(memory)) {
  shared_ = static_cast<Shared*>(memory_.data());
  const bool whole = memory_.size() >= sizeof(Shared) && shared_->magic == kMagic &&
                     shared_->record_bytes == sizeof(Record) &&
                     std::has_single_bit(shared_->capacity) && shared_->capacity <= (1ULL << 30) &&
                     memory_.size() == sizeof(Shared) + shared_->capacity * sizeof(Record);
  if (!whole)
    throw Error(ErrorKind::kIo, "\"" + memory_.name() + "\" is not a wirepath ring",
                "or it was made by another version of wirepath");
  slots_ = reinterpret_cast<Record*>(static_cast<uint8_t*>(memory_.data()) + sizeof(Shared));
  capacity_ = shared_->capacity;
  mask_ = capacity_ - 1;
  policy_ = static_cast<FullPolicy>(shared_->policy);
  catch_up(Turn::kProducer);
  catch_up(Turn::kConsumer);
}

// Where the indices stand, however many others used this side since.
void Ring::catch_up(int side) noexcept {
  const uint64_t tail = shared_->tail.load(std::memory_order_acquire);
  const uint64_t head = shared_->head.load(std::memory_order_acquire);
  if (side == Turn::kProducer) {
    producer_.head = head;
    producer_.cached_tail = tail;
  } else if (consumer_.tail != tail) {
    consumer_.tail = consumer_.stamped = tail;
    consumer_.cached_head = head;
  }
}

Ring::Turn::Turn(Ring& ring, Side side) : ring_(ring), side_(side) {
  const bool mine = !(*ring.taken_)[side].exchange(true, std::memory_order_acquire);
  const bool named = !ring.name().empty();
  if (mine && (!named || ring.memory_.try_lock(side))) {
    ring.catch_up(side);
    return;
  }
  if (mine) (*ring.taken_)[side].store(false, std::memory_order_release);
  const std::string who = side == kProducer ? "producer" : "consumer";
  throw Error(
      ErrorKind::kBusy,
      (named ? "ring \"" + ring.name() + "\"" : std::string("the ring")) + " has a " + who +
          (mine ? ", in another process or attached to it separately" : " in another thread"),
      "give each " + who + " a ring of its own" +
          (side == kProducer ? "; wirepath.merge reads several" : ""));
}

Ring::Turn::~Turn() {
  if (!ring_.name().empty()) ring_.memory_.unlock(side_);
  (*ring_.taken_)[side_].store(false, std::memory_order_release);
}

Ring Ring::attach(const std::string& name) {
  return Ring(SharedMemory::attach(name, true));
}

size_t Ring::try_push(const Record* records, size_t n, int64_t now) noexcept {
  size_t done = 0;
  Record* slots;
  while (done < n) {
    const size_t got = reserve(n - done, &slots);
    if (got == 0) break;
    std::memcpy(slots, records + done, got * sizeof(Record));
    commit(got, now);
    done += got;
  }
  return done;
}

bool Ring::wait_for_room(uint64_t spin) noexcept {
  if (policy_ == FullPolicy::kDrop || closed()) return false;
  // The consumer may need this very core: yield soon, and sleep once it is clearly away.
  if (spin < 64)
    cpu_pause();
  else if (spin < 1024)
    sched_yield();
  else {
    const timespec nap{0, 50'000};
    nanosleep(&nap, nullptr);
  }
  return true;
}

size_t Ring::push(const Record* records, size_t n, int64_t now) noexcept {
  size_t done = try_push(records, n, now);
  if (done == n) return n;
  if (policy_ == FullPolicy::kBlock) count_blocked();
  for (uint64_t spin = 0; done < n && wait_for_room(spin); spin++)
    done += try_push(records + done, n - done, now);
  if (done < n) count_dropped(n - done);
  return done;
}

size_t Ring::pop(Record* out, size_t max) noexcept {
  size_t done = 0;
  const Record* records;
  while (done < max) {
    const size_t got = peek(max - done, &records);
    if (got == 0) break;
    std::memcpy(out + done, records, got * sizeof(Record));
    consume(got);
    done += got;
  }
  return done;
}

void Ring::record_hand_over(int64_t now, Histogram& histogram) noexcept {
  const uint64_t head = shared_->stamp_head.load(std::memory_order_acquire);
  uint64_t at = shared_->stamp_tail.load(std::memory_order_relaxed);
  for (; at != head; at++) {
    const Stamp& s = shared_->stamps[at & (kStamps - 1)];
    const uint64_t end = std::min(s.end, consumer_.tail);
    if (end > consumer_.stamped) {
      histogram.record(now - s.time, end - consumer_.stamped);
      consumer_.stamped = end;
    }
    if (s.end > consumer_.tail) break;  // the rest of this burst is still in the ring
  }
  shared_->stamp_tail.store(at, std::memory_order_release);
}

}  // namespace wp
