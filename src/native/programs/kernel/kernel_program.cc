// SPDX-License-Identifier: Apache-2.0
#include "programs/kernel/kernel_program.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "core/error.h"
#include "programs/kernel/refusal.h"

namespace wp::programs {
namespace {

struct CloseObject {
  void operator()(bpf_object* object) const { bpf_object__close(object); }
};
using Object = std::unique_ptr<bpf_object, CloseObject>;

Fd duplicate(int fd) {
  return Fd(dup(fd));
}

Object open_object(std::span<const unsigned char> image) {
  Object object(bpf_object__open_mem(image.data(), image.size(), nullptr));
  if (!object)
    throw Error(ErrorKind::kConfig, "libbpf cannot open the object: " +
                                        std::string(strerror(errno)) + " [" + BpfLog::text() + "]");
  return object;
}

void configure(bpf_object* object, const KernelConfig& config) {
  for (const auto& [name, entries] : config.entries) {
    bpf_map* map = bpf_object__find_map_by_name(object, name.c_str());
    if (!map) throw Error(ErrorKind::kConfig, "the program has no map " + name);
    if (entries == 0 || bpf_map__set_max_entries(map, entries))
      throw config_error("entries of map " + name, std::to_string(entries), "at least 1");
  }
  for (const auto& [name, fd] : config.reuse) {
    bpf_map* map = bpf_object__find_map_by_name(object, name.c_str());
    if (!map) continue;
    if (const int failed = bpf_map__reuse_fd(map, fd))
      throw refused("map " + name + " cannot be shared", -failed);
  }
  if (config.rodata.empty()) return;
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, object) {
    const std::string name = bpf_map__name(map);
    if (name != ".rodata" && !name.ends_with(".rodata")) continue;
    if (bpf_map__set_initial_value(map, config.rodata.data(), config.rodata.size()))
      throw Error(ErrorKind::kConfig, "the configuration is not of this object: it has " +
                                          std::to_string(bpf_map__value_size(map)) +
                                          " bytes of constants, not " +
                                          std::to_string(config.rodata.size()));
    return;
  }
  throw Error(ErrorKind::kConfig, "the object has no constants to configure");
}

bpf_program* choose(bpf_object* object, const std::string& wanted) {
  bpf_program *program = nullptr, *found = nullptr;
  std::string names;
  int programs = 0;
  bpf_object__for_each_program(program, object) {
    const std::string name = bpf_program__name(program);
    names += (names.empty() ? "" : ", ") + name;
    programs++;
    if (wanted.empty() || name == wanted) found = program;
  }
  if (!found)
    throw Error(ErrorKind::kConfig,
                wanted.empty() ? std::string("the object holds no program")
                               : "the object has no program " + wanted + ": it has " + names);
  if (wanted.empty() && programs > 1)
    throw Error(ErrorKind::kConfig, "the object holds several programs: " + names,
                "say which one: program=NAME");
  bpf_object__for_each_program(program, object)
      bpf_program__set_autoload(program, program == found);
  if (bpf_program__type(found) != BPF_PROG_TYPE_XDP)
    bpf_program__set_type(found, BPF_PROG_TYPE_XDP);
  return found;
}

}  // namespace

KernelProgram::KernelProgram(std::span<const unsigned char> image, const KernelConfig& config) {
  const BpfLog log;
  const Object object = open_object(image);
  configure(object.get(), config);
  bpf_program* program = choose(object.get(), config.program);
  if (config.shared_chain)
    bpf_program__set_expected_attach_type(program, static_cast<bpf_attach_type>(0));
  if (config.offload_ifindex) {
    bpf_program__set_ifindex(program, config.offload_ifindex);
    bpf_map* map = nullptr;
    bpf_object__for_each_map(map, object.get()) bpf_map__set_ifindex(map, config.offload_ifindex);
  }
  if (const int failed = bpf_object__load(object.get())) {
    if (failed == -EPERM) throw refused("the kernel does not load the program", EPERM);
    throw Error(ErrorKind::kIo, std::string("the kernel does not load program ") +
                                    bpf_program__name(program) + ": " + strerror(-failed) + "\n" +
                                    BpfLog::text());
  }
  fd_ = duplicate(bpf_program__fd(program));
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, object.get()) {
    if (bpf_map__fd(map) < 0) continue;
    maps_.push_back(std::make_unique<KernelMap>(duplicate(bpf_map__fd(map))));
  }
  describe();
}

KernelProgram::KernelProgram(Fd fd) : fd_(std::move(fd)) {
  bpf_prog_info info{};
  uint32_t length = sizeof info;
  if (bpf_obj_get_info_by_fd(fd_.get(), &info, &length))
    throw refused("the kernel does not describe a program", errno);
  std::vector<uint32_t> ids(info.nr_map_ids);
  const uint32_t n = info.nr_map_ids;
  info = {};
  info.nr_map_ids = n;
  info.map_ids = reinterpret_cast<uint64_t>(ids.data());
  length = sizeof info;
  if (bpf_obj_get_info_by_fd(fd_.get(), &info, &length))
    throw refused("the kernel does not name a program's maps", errno);
  for (const uint32_t id : ids) {
    const int map = bpf_map_get_fd_by_id(id);
    if (map >= 0) maps_.push_back(std::make_unique<KernelMap>(Fd(map)));
  }
  describe();
}

void KernelProgram::describe() {
  bpf_prog_info info{};
  uint32_t length = sizeof info;
  if (bpf_obj_get_info_by_fd(fd_.get(), &info, &length))
    throw refused("the kernel does not describe a program", errno);
  id_ = info.id;
  name_ = info.name;
  btf_id_ = info.btf_id;
  jited_bytes_ = info.jited_prog_len;
  for (const uint8_t byte : info.tag) {
    char hex[3];
    snprintf(hex, sizeof hex, "%02x", byte);
    tag_ += hex;
  }
}

std::unique_ptr<KernelProgram> KernelProgram::by_id(uint32_t id) {
  const int fd = bpf_prog_get_fd_by_id(id);
  if (fd < 0) {
    if (errno == ENOENT)
      throw Error(ErrorKind::kConfig, "there is no program with number " + std::to_string(id));
    throw refused("program " + std::to_string(id) + " cannot be taken hold of", errno);
  }
  return std::make_unique<KernelProgram>(Fd(fd));
}

std::unique_ptr<KernelProgram> KernelProgram::pinned(const std::string& path) {
  Fd fd = get_pinned(path);
  return fd ? std::make_unique<KernelProgram>(std::move(fd)) : nullptr;
}

const KernelMap* KernelProgram::find(const std::string& name) const noexcept {
  for (const auto& map : maps_)
    if (map->shape().name == name) return map.get();
  return nullptr;
}

KernelMap& KernelProgram::map(const std::string& name) const {
  std::string known;
  for (const auto& map : maps_) {
    if (map->shape().name == name) return *map;
    known += (known.empty() ? "" : ", ") + map->shape().name;
  }
  throw Error(ErrorKind::kConfig,
              "program " + name_ + " has no map " + name + ": its maps are " + known);
}

RunResult KernelProgram::run(const std::string& frame, uint32_t repeat, uint32_t interface,
                             uint32_t queue) const {
  std::string out(4096, '\0');
  LIBBPF_OPTS(bpf_test_run_opts, options);
  options.data_in = frame.data();
  options.data_size_in = static_cast<uint32_t>(frame.size());
  options.data_out = out.data();
  options.data_size_out = static_cast<uint32_t>(out.size());
  options.repeat = static_cast<int>(repeat);
  xdp_md context{};
  if (interface || queue) {
    context.data_end = static_cast<uint32_t>(frame.size());
    context.ingress_ifindex = interface;
    context.rx_queue_index = queue;
    options.ctx_in = &context;
    options.ctx_size_in = sizeof context;
  }
  if (const int failed = bpf_prog_test_run_opts(fd_.get(), &options)) {
    if (failed == -EPERM) throw refused("BPF_PROG_RUN of " + name_, EPERM);
    throw Error(ErrorKind::kIo, "BPF_PROG_RUN of " + name_ + " on a frame of " +
                                    std::to_string(frame.size()) + " bytes: " + strerror(-failed));
  }
  out.resize(options.data_size_out);
  return {options.retval, options.duration, std::move(out)};
}

std::string btf_of(uint32_t id) {
  if (id == 0) return {};
  const Fd fd(bpf_btf_get_fd_by_id(id));
  if (!fd) return {};
  bpf_btf_info info{};
  uint32_t length = sizeof info;
  if (bpf_obj_get_info_by_fd(fd.get(), &info, &length)) return {};
  std::string bytes(info.btf_size, '\0');
  info = {};
  info.btf = reinterpret_cast<uint64_t>(bytes.data());
  info.btf_size = static_cast<uint32_t>(bytes.size());
  length = sizeof info;
  return bpf_obj_get_info_by_fd(fd.get(), &info, &length) ? std::string() : bytes;
}

void pin(int fd, const std::string& path) {
  if (bpf_obj_pin(fd, path.c_str())) {
    if (errno == EEXIST)
      throw Error(ErrorKind::kBusy, path + " exists already",
                  "rm " + path + " gives the name free");
    if (errno == EPERM && access(path.substr(0, path.rfind('/')).c_str(), W_OK) == 0)
      throw Error(ErrorKind::kConfig, path + " is not in a bpf file system",
                  "pins live under a mount of type bpf, such as /sys/fs/bpf");
    throw refused("cannot pin to " + path, errno);
  }
}

Fd get_pinned(const std::string& path) {
  const int fd = bpf_obj_get(path.c_str());
  if (fd < 0 && errno != ENOENT) throw refused("cannot open " + path, errno);
  return Fd(fd);
}

}  // namespace wp::programs
