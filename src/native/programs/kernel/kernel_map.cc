// SPDX-License-Identifier: Apache-2.0
#include "programs/kernel/kernel_map.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <utility>

#include "core/error.h"
#include "programs/kernel/refusal.h"

namespace wp::programs {
namespace {

constexpr uint32_t kBatch = 1u << 16;

std::string kind_of(uint32_t type) {
  switch (type) {
    case BPF_MAP_TYPE_ARRAY:
      return "ARRAY";
    case BPF_MAP_TYPE_HASH:
      return "HASH";
    case BPF_MAP_TYPE_LRU_HASH:
      return "LRU_HASH";
    case BPF_MAP_TYPE_LPM_TRIE:
      return "LPM";
    case BPF_MAP_TYPE_PERCPU_ARRAY:
      return "PERCPU_ARRAY";
    case BPF_MAP_TYPE_PERCPU_HASH:
      return "PERCPU_HASH";
    case BPF_MAP_TYPE_LRU_PERCPU_HASH:
      return "LRU_PERCPU_HASH";
    case BPF_MAP_TYPE_DEVMAP:
      return "PORTS";
    case BPF_MAP_TYPE_RINGBUF:
      return "RING";
    default: {
      const char* name = libbpf_bpf_map_type_str(static_cast<bpf_map_type>(type));
      return name ? name : "type " + std::to_string(type);
    }
  }
}

bool is_percpu(uint32_t type) {
  return type == BPF_MAP_TYPE_PERCPU_ARRAY || type == BPF_MAP_TYPE_PERCPU_HASH ||
         type == BPF_MAP_TYPE_LRU_PERCPU_HASH;
}

int keep_record(void* to, void* data, size_t size) {
  static_cast<std::vector<std::string>*>(to)->emplace_back(static_cast<char*>(data), size);
  return 0;
}

}  // namespace

Fd::~Fd() {
  if (fd_ >= 0) close(fd_);
}
Fd& Fd::operator=(Fd&& other) noexcept {
  if (this != &other) {
    if (fd_ >= 0) close(fd_);
    fd_ = other.release();
  }
  return *this;
}

KernelMap::KernelMap(Fd fd) : fd_(std::move(fd)) {
  bpf_map_info info{};
  uint32_t length = sizeof info;
  if (bpf_obj_get_info_by_fd(fd_.get(), &info, &length))
    throw refused("the kernel does not describe a map", errno);
  type_ = info.type;
  id_ = info.id;
  btf_id_ = info.btf_id;
  btf_key_ = info.btf_key_type_id;
  btf_value_ = info.btf_value_type_id;
  const int cpus = libbpf_num_possible_cpus();
  shape_ = {.name = info.name,
            .kind = kind_of(info.type),
            .key_size = info.key_size,
            .value_size = info.value_size,
            .max_entries = info.max_entries,
            .slots = is_percpu(info.type) && cpus > 0 ? static_cast<uint32_t>(cpus) : 1,
            .value_stride = (info.value_size + 7) & ~7u};
}

KernelMap::~KernelMap() {
  ring_buffer__free(ring_);
}

bool KernelMap::is_array() const noexcept {
  return type_ == BPF_MAP_TYPE_ARRAY || type_ == BPF_MAP_TYPE_PERCPU_ARRAY;
}

size_t KernelMap::memory() const {
  std::ifstream file("/proc/self/fdinfo/" + std::to_string(fd_.get()));
  for (std::string line; std::getline(file, line);)
    if (line.starts_with("memlock:")) return std::stoull(line.substr(8));
  return 0;
}

bool KernelMap::get(const uint8_t* key, uint8_t* values) const noexcept {
  return bpf_map_lookup_elem(fd_.get(), key, values) == 0;
}
int KernelMap::put(const uint8_t* key, const uint8_t* values, uint64_t how) noexcept {
  return bpf_map_update_elem(fd_.get(), key, values, how) ? -errno : 0;
}
int KernelMap::remove(const uint8_t* key) noexcept {
  return bpf_map_delete_elem(fd_.get(), key) ? -errno : 0;
}

// In batches where the kernel has them for this kind of map, else entry by entry.
size_t KernelMap::load(std::span<const uint8_t> keys, std::span<const uint8_t> values, uint64_t how,
                       int& error) noexcept {
  const size_t n = shape_.key_size ? keys.size() / shape_.key_size : 0;
  const size_t each = shape_.value_bytes();
  size_t done = 0;
  error = 0;
  LIBBPF_OPTS(bpf_map_batch_opts, options);
  options.elem_flags = how;
  while (how == BPF_ANY && done < n) {
    auto count = static_cast<uint32_t>(std::min<size_t>(kBatch, n - done));
    const int failed = bpf_map_update_batch(fd_.get(), keys.data() + done * shape_.key_size,
                                            values.data() + done * each, &count, &options);
    if (failed && errno != EFAULT) done += count;
    if (failed) break;
    done += count;
  }
  for (; done < n; done++) {
    error = put(keys.data() + done * shape_.key_size, values.data() + done * each, how);
    if (error) break;
  }
  return done;
}

bool KernelMap::dump_batch(std::vector<uint8_t>& keys, std::vector<uint8_t>& values) const {
  const size_t each = shape_.value_bytes();
  LIBBPF_OPTS(bpf_map_batch_opts, options);
  // Where it stopped: a bucket's number or a key.
  std::vector<uint8_t> token(std::max<size_t>(16, shape_.key_size)), next(token);
  uint32_t want = std::min(kBatch, std::max(64u, shape_.max_entries));
  bool first = true;
  for (;;) {
    const size_t k = keys.size(), v = values.size();
    uint32_t count = want;
    keys.resize(k + size_t{count} * shape_.key_size);
    values.resize(v + count * each);
    const int failed = bpf_map_lookup_batch(fd_.get(), first ? nullptr : token.data(), next.data(),
                                            &keys[k], &values[v], &count, &options);
    const int why = errno;
    if (failed && why == ENOSPC) {  // one bucket has more than fits
      keys.resize(k);
      values.resize(v);
      want *= 2;
      if (want > (1u << 24)) return false;
      continue;
    }
    if (failed && why != ENOENT) {
      keys.clear();
      values.clear();
      return false;
    }
    keys.resize(k + size_t{count} * shape_.key_size);
    values.resize(v + count * each);
    if (failed) return true;  // ENOENT: that was the end
    token.swap(next);
    first = false;
  }
}

void KernelMap::dump(std::vector<uint8_t>& keys, std::vector<uint8_t>& values) const {
  if (shape_.key_size == 0) return;
  if (dump_batch(keys, values)) return;
  const size_t each = shape_.value_bytes();
  std::vector<uint8_t> key(shape_.key_size), value(each);
  const uint8_t* last = nullptr;
  std::vector<uint8_t> next(shape_.key_size);
  while (bpf_map_get_next_key(fd_.get(), last, next.data()) == 0) {
    key = next;
    last = key.data();
    if (bpf_map_lookup_elem(fd_.get(), key.data(), value.data())) continue;
    keys.insert(keys.end(), key.begin(), key.end());
    values.insert(values.end(), value.begin(), value.end());
  }
}

size_t KernelMap::size() const {
  if (is_array()) return shape_.max_entries;
  std::vector<uint8_t> keys, values;
  dump(keys, values);
  return shape_.key_size ? keys.size() / shape_.key_size : 0;
}

void KernelMap::clear() {
  std::vector<uint8_t> keys, values;
  if (is_array()) {
    const std::vector<uint8_t> zero(shape_.value_bytes());
    for (uint32_t i = 0; i < shape_.max_entries; i++)
      put(reinterpret_cast<const uint8_t*>(&i), zero.data(), BPF_ANY);
    return;
  }
  dump(keys, values);
  for (size_t at = 0; at < keys.size(); at += shape_.key_size) remove(&keys[at]);
}

std::vector<std::string> KernelMap::read_ring(size_t most) {
  if (type_ != BPF_MAP_TYPE_RINGBUF)
    throw Error(ErrorKind::kConfig, "map " + shape_.name + " is no ring but " + shape_.kind);
  if (!ring_) {
    ring_ = ring_buffer__new(fd_.get(), keep_record, &records_, nullptr);
    if (!ring_) throw refused("ring " + shape_.name + " cannot be read", errno);
  }
  if (records_.size() < most) ring_buffer__consume(ring_);
  const auto end = records_.begin() + static_cast<ptrdiff_t>(std::min(most, records_.size()));
  std::vector<std::string> out(std::make_move_iterator(records_.begin()),
                               std::make_move_iterator(end));
  records_.erase(records_.begin(), end);
  return out;
}

}  // namespace wp::programs
