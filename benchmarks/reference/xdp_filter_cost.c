/* SPDX-License-Identifier: Apache-2.0
 *
 * The yardstick of the filter: what an object of xdp-filter (xdp-tools) takes for a packet, by
 * BPF_PROG_RUN, with one IPv4 source address in its table. Loaded without its pins, attached to
 * nothing.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "ref.h"

enum { kMatchSource = 1 }; /* MAP_FLAG_SRC of xdp-filter */

static const char kWhat[] =
    "Runs an object of xdp-filter over a UDP frame of 64 bytes inside the kernel and prints one\n"
    "line of JSON: ns a packet, and the verdict (1 drop, 2 pass).\n\n"
    "usage: xdp_filter_cost OBJECT DENIED_IPV4 SOURCE_IPV4 REPEAT\n"
    "example: xdp_filter_cost /usr/lib/x86_64-linux-gnu/bpf/xdpfilt_alw_ip.o 10.0.0.1 10.0.0.1 "
    "1000000";

static int quiet(enum libbpf_print_level level, const char* format, va_list args) {
  return level == LIBBPF_WARN ? vfprintf(stderr, format, args) : 0;
}

int main(int argc, char** argv) {
  if (argc != 5) ref_die(2, "%s", kWhat);
  uint32_t denied;
  unsigned char frame[64] = {2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0, 0, 50};
  frame[22] = 64;
  frame[23] = 17;
  frame[35] = frame[37] = 9;
  frame[39] = 30;
  if (inet_pton(AF_INET, argv[2], &denied) != 1 || inet_pton(AF_INET, argv[3], frame + 26) != 1 ||
      inet_pton(AF_INET, "10.9.9.9", frame + 30) != 1)
    ref_die(2, "'%s' and '%s' must be IPv4 addresses", argv[2], argv[3]);
  libbpf_set_print(quiet);
  struct bpf_object* object = bpf_object__open(argv[1]);
  if (!object) ref_die(1, "cannot open %s: %s (apt install xdp-tools)", argv[1], strerror(errno));
  struct bpf_map* map;
  bpf_object__for_each_map(map, object) bpf_map__set_pin_path(map, NULL);
  if (bpf_object__load(object)) ref_die(1, "the kernel refused %s (needs root)", argv[1]);
  const int cpus = libbpf_num_possible_cpus();
  uint64_t* values = calloc((size_t)cpus, sizeof *values);
  map = bpf_object__find_map_by_name(object, "filter_ipv4");
  if (!map || !values) ref_die(1, "%s has no table filter_ipv4", argv[1]);
  for (int i = 0; i < cpus; i++) values[i] = kMatchSource;
  if (bpf_map_update_elem(bpf_map__fd(map), &denied, values, 0))
    ref_die(1, "the address could not be put into the table: %s", strerror(errno));
  LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = frame, .data_size_in = sizeof frame,
              .repeat = atoi(argv[4]));
  const int fd = bpf_program__fd(bpf_object__next_program(object, NULL));
  if (bpf_prog_test_run_opts(fd, &run)) ref_die(1, "BPF_PROG_RUN: %s", strerror(errno));
  printf("{\"ns\": %u, \"verdict\": %u}\n", run.duration, run.retval);
  free(values);
  bpf_object__close(object);
  return 0;
}
