// SPDX-License-Identifier: Apache-2.0
#include "backends/af_xdp/steer_program.h"

#include <bpf/bpf.h>
#include <xdp/libxdp.h>

#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstring>

#include "backends/af_xdp/privileges.h"
#include "backends/af_xdp/steer_object.h"
#include "core/error.h"

namespace wp::af_xdp {
namespace {

thread_local std::string log_text;

int append(const char* format, va_list arguments) {
  char line[512];
  const int n = vsnprintf(line, sizeof line, format, arguments);
  log_text += line;
  constexpr size_t kKeep = 4000;  // a verifier log can be very long; its end says why
  if (log_text.size() > kKeep) log_text.erase(0, log_text.size() - kKeep);
  return n;
}
int on_libbpf(enum libbpf_print_level level, const char* format, va_list arguments) {
  return level == LIBBPF_DEBUG ? 0 : append(format, arguments);
}
int on_libxdp(enum libxdp_print_level level, const char* format, va_list arguments) {
  return level == LIBXDP_DEBUG ? 0 : append(format, arguments);
}

}  // namespace

LibraryLog::LibraryLog() {
  log_text.clear();
  // Process-wide and left in place: the libraries never write to stderr on our behalf.
  libbpf_set_print(on_libbpf);
  libxdp_set_print(on_libxdp);
}
LibraryLog::~LibraryLog() {
  log_text.clear();
}
std::string LibraryLog::text() {
  std::string out = log_text;
  while (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

SteerProgram::SteerProgram(const programs::SteerKeys& keys, uint32_t sockets, uint64_t stamp_magic)
    : keys_(keys) {
  const auto image = steer_object();
  object_.reset(bpf_object__open_mem(image.data(), image.size(), nullptr));
  if (!object_) throw refused("libbpf cannot open the steering program", errno);
  bpf_map__set_max_entries(map("xsks"), sockets);
  bpf_map__set_max_entries(map("rules"),
                           std::max<uint32_t>(1, static_cast<uint32_t>(keys.keys.size())));
  steer_config& config = config_;
  config.stamp_magic = stamp_magic;
  config.features = keys.features;
  if (keys.keys.size() <= STEER_FEW_KEYS) {
    config.few_keys = static_cast<uint32_t>(keys.keys.size());
    for (size_t i = 0; i < keys.keys.size(); i++)
      std::memcpy(config.few[i], &keys.keys[i], sizeof(steer_key));
  }
  set_config();
}

void SteerProgram::set_config() {
  if (bpf_map__set_initial_value(map(".rodata"), &config_, sizeof config_))
    throw Error(ErrorKind::kIo, "the embedded steering program is not of this build");
}

void SteerProgram::join_chain(int programs) {
  config_.chained = 1;
  set_config();
  if (const int failed = bpf_map__reuse_fd(map("wp_chain"), programs))
    throw refused("the steering program cannot share the chain", -failed);
}

bpf_map* SteerProgram::map(const char* name) const {
  bpf_map* found = bpf_object__find_map_by_name(object_.get(), name);
  if (!found)
    throw Error(ErrorKind::kIo, std::string("the embedded steering program has no map ") + name);
  return found;
}

void SteerProgram::load() {
  const int failed = bpf_object__load(object_.get());
  if (failed) {
    const std::string said = LibraryLog::text();
    throw refused("the kernel does not load the steering program" +
                      (said.empty() || failed == -EPERM ? "" : " [" + said + "]"),
                  -failed);
  }
  loaded();
}

void SteerProgram::loaded() {
  const int rules = bpf_map__fd(map("rules"));
  const uint8_t there = 1;
  for (const steer_key& key : keys_.keys)
    if (bpf_map_update_elem(rules, &key, &there, BPF_ANY))
      throw refused("cannot write a steering rule", errno);
  counters_fd_ = bpf_map__fd(map("counters"));
  const int cpus = libbpf_num_possible_cpus();
  per_cpu_.resize(cpus > 0 ? static_cast<size_t>(cpus) : 1);
  enabled_fd_ = bpf_map__fd(map(".bss"));
  bpf_prog_info info{};
  uint32_t length = sizeof info;
  if (bpf_obj_get_info_by_fd(fd(), &info, &length) == 0) {
    id_ = info.id;
    name_ = info.name;
    for (const uint8_t byte : info.tag) {
      char hex[3];
      snprintf(hex, sizeof hex, "%02x", byte);
      tag_ += hex;
    }
  }
}

int SteerProgram::fd() const noexcept {
  return bpf_program__fd(bpf_object__find_program_by_name(object_.get(), "wirepath_steer"));
}

void SteerProgram::set_socket(uint32_t queue, int fd) {
  if (bpf_map_update_elem(bpf_map__fd(map("xsks")), &queue, &fd, BPF_ANY))
    throw refused("cannot hand queue " + std::to_string(queue) + " to its socket", errno);
}

void SteerProgram::enable(bool on) {
  const uint32_t zero = 0, value = on;
  if (bpf_map_update_elem(enabled_fd_, &zero, &value, BPF_ANY))
    throw refused("cannot switch the steering program", errno);
}

steer_counters SteerProgram::counters() const noexcept {
  steer_counters sum{};
  const uint32_t zero = 0;
  if (counters_fd_ < 0 || bpf_map_lookup_elem(counters_fd_, &zero, per_cpu_.data())) return sum;
  for (const steer_counters& c : per_cpu_) {
    sum.matched += c.matched;
    sum.no_socket += c.no_socket;
    sum.passed += c.passed;
    sum.fragments += c.fragments;
    sum.unstamped += c.unstamped;
  }
  return sum;
}

bool kernel_can_stamp() {
  return libbpf_probe_bpf_helper(BPF_PROG_TYPE_XDP, BPF_FUNC_ktime_get_tai_ns, nullptr) == 1;
}

}  // namespace wp::af_xdp
