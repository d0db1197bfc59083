/* SPDX-License-Identifier: Apache-2.0
 *
 * Loading the BPF object that the build compiled and put inside the program.
 */
#pragma once

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <stdarg.h>

#include "ref.h"

__asm__(
    ".pushsection .rodata\n"
    ".balign 16\n"
    "ref_object_begin:\n"
    ".incbin \"" BPF_OBJECT
    "\"\n"
    "ref_object_end:\n"
    ".popsection\n");
extern const unsigned char ref_object_begin[], ref_object_end[];

static inline __attribute__((format(printf, 2, 0))) int ref_libbpf_print(
    enum libbpf_print_level level, const char* format, va_list args) {
  return level == LIBBPF_WARN ? vfprintf(stderr, format, args) : 0;
}

/* Opens the object with `config` as its constants; dies with the reason when it cannot. */
static inline struct bpf_object* ref_open(const void* config, size_t size) {
  libbpf_set_print(ref_libbpf_print);
  LIBBPF_OPTS(bpf_object_open_opts, opts, .object_name = "ref");
  struct bpf_object* object =
      bpf_object__open_mem(ref_object_begin, (size_t)(ref_object_end - ref_object_begin), &opts);
  if (!object) ref_die(1, "cannot open the BPF object: %s", strerror(errno));
  struct bpf_map* constants = bpf_object__find_map_by_name(object, ".rodata");
  if (!constants || bpf_map__set_initial_value(constants, config, size)) {
    ref_die(1, "the BPF object's constants are not %zu bytes", size);
  }
  return object;
}

static inline struct bpf_object* ref_load_opened(struct bpf_object* object) {
  const int error = bpf_object__load(object);
  if (error) {
    ref_die(1, "the kernel refused the BPF program: %s (needs root, or CAP_BPF with CAP_NET_ADMIN)",
            strerror(-error));
  }
  return object;
}

static inline struct bpf_object* ref_load(const void* config, size_t size) {
  return ref_load_opened(ref_open(config, size));
}

static inline int ref_program_fd(struct bpf_object* object, const char* name) {
  struct bpf_program* program = bpf_object__find_program_by_name(object, name);
  if (!program) ref_die(1, "no program '%s' in the BPF object", name);
  return bpf_program__fd(program);
}

static inline int ref_map_fd(struct bpf_object* object, const char* name) {
  const int fd = bpf_object__find_map_fd_by_name(object, name);
  if (fd < 0) ref_die(1, "no map '%s' in the BPF object", name);
  return fd;
}
