/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * Packet programs: one source in restricted C, compiled twice, to eBPF for the driver and to
 * native code for a stage behind any port. docs/programs.md explains it with an example.
 *
 *   #include <wirepath/program.h>
 *
 *   struct options { __u32 port; };
 *   WP_CONFIG(struct options);                        at most once; read with wp_config(p)
 *
 *   #define COUNTERS(COUNT, DROP) COUNT(not_udp) DROP(truncated) DROP(blocked)
 *   WP_COUNTERS(COUNTERS);                            once; WP_COUNTERS(WP_NONE) for none
 *
 *   WP_MAP(LRU_HASH, sources, __u32, struct seen, 65536);
 *
 *   WP_PROGRAM(example) {                             once, last; `p` is a struct wp_packet *
 *     if (p->data + 34 > p->end) return wp_drop(p, truncated);
 *     ...
 *     return WP_NEXT;
 *   }
 *
 * Verdicts: WP_ABORTED, WP_DROP, WP_PASS, WP_TX, WP_REDIRECT are XDP's. WP_NEXT: on to the next
 * program; behind the last one that is PASS in the driver, and in a worker whatever the stages
 * behind decide. A drop is written `return wp_drop(p, reason)`, so that every drop has a name.
 *
 * The packet (struct wp_packet):
 *   p->data, p->end   __u8 *; bytes [data, end), from the Ethernet destination on. A byte may be
 *                     touched only behind a comparison with p->end, as the verifier wants it.
 *   p->queue          receive queue
 *   p->interface      driver: interface index; native: number of the port within its worker
 *   wp_adjust_head(p, n), wp_adjust_tail(p, n)  move the start (negative: room in front) or the
 *                     end (positive: zero bytes behind); 0 or -EINVAL. Afterwards every pointer
 *                     into the packet must be taken from p->data anew.
 *   wp_now(p)         ns of a clock that never goes back: driver CLOCK_MONOTONIC (taken when
 *                     asked for, some 20 ns), native the frame's receive time
 *   wp_random(p)      32 bits, not for secrets
 *   wp_slot(p)        which per-CPU slot this is: CPU, or number of the worker
 * In test mode (programs loaded with test=True) time and random numbers are what the test sets,
 * and the same in both builds.
 *
 * Maps: WP_MAP(KIND, name, key type, value type, entries) with KIND one of ARRAY, HASH, LRU_HASH,
 * LPM, PERCPU_ARRAY, PERCPU_HASH, LRU_PERCPU_HASH. ARRAY kinds have __u32 keys. An LPM key is a
 * struct that begins with __u32 prefixlen, followed by the address in network order, at most 16
 * bytes and without padding. `entries` can be changed when the program is loaded.
 *   wp_lookup(p, name, &key)                pointer to the value, or NULL
 *   wp_update(p, name, &key, &value, how)   how: WP_ANY, WP_NOEXIST, WP_EXIST; 0 or -errno
 *   wp_delete(p, name, &key)                0 or -errno
 * The value stays readable until the program returns, also where another CPU deletes the entry. An
 * update replaces a hash entry as a whole, and changes an ARRAY value where it is, word by word.
 * Values that several CPUs change: wp_add(&v->count, n), wp_cas(&v->word, old, new), wp_read(),
 * wp_write(); per-CPU values and p's own counters are changed plainly.
 *
 * WP_PORTS(name, entries): ports to send out of; return wp_redirect(p, name, index), which is
 * WP_ABORTED where that entry is empty. Its values are interface indices in the driver, natively
 * 1 + the number of the port within its worker.
 *
 * WP_RING(name, bytes): records to user space, a power of two of at least 4096 bytes.
 *   wp_emit(p, name, &record, sizeof record)    0, or -EAGAIN when it is full
 *   wp_sample(p, name, &head, snap)             `head` and the first `snap` (a constant) bytes of
 *                                               the packet; head must say how many are valid
 *
 * Counters: wp_count(p, name), wp_count_n(p, name, n). Verdicts are counted by the layer.
 *
 * Configuration: wp_config(p)->field is a constant to the verifier, which removes the branches
 * that it forbids; natively it is the instance's memory.
 *
 * No state may live elsewhere: no globals, no static variables. Natively several instances of a
 * program live in one process. Loops are bounded. WP_UNROLL before a loop unrolls it for eBPF.
 */
#ifndef WIREPATH_PROGRAM_H
#define WIREPATH_PROGRAM_H

#include <linux/types.h>

#include "chain_shared.h"

#define WP_PROGRAM_ABI 1

#ifdef __bpf__
enum wp_verdict { WP_ABORTED, WP_DROP, WP_PASS, WP_TX, WP_REDIRECT, WP_KEEP };
#elif __has_include(<wirepath/batch.h>)
#include <wirepath/batch.h>
#else
#include "core/batch.h"
#endif
#define WP_NEXT 6 /* beside enum wp_verdict */

#define WP_ANY 0ull
#define WP_NOEXIST 1ull
#define WP_EXIST 2ull

#define WP_INLINE static __attribute__((always_inline, unused)) inline

/* Network order is big-endian, the machines are not. */
#define wp_be16(n) ((__u16)__builtin_bswap16((__u16)(n)))
#define wp_be32(n) ((__u32)__builtin_bswap32((__u32)(n)))
#define wp_be64(n) ((__u64)__builtin_bswap64((__u64)(n)))

#define WP_NONE(COUNT, DROP)
#define WP_COUNT_FIELD(name) __u64 name;
#define WP_DROP_FIELD(name) __u64 drop_##name;

struct wp_counters; /* verdicts by number, then what the program declares */
#define WP_COUNTERS(LIST)               \
  struct wp_counters {                  \
    __u64 verdict[8];                   \
    LIST(WP_COUNT_FIELD, WP_DROP_FIELD) \
  };                                    \
  WP_MAP(PERCPU_ARRAY, counters, __u32, struct wp_counters, 1)

#define wp_count(p, name) ((p)->counters->name++)
#define wp_count_n(p, name, n) ((p)->counters->name += (n))
#define wp_drop(p, name) ((p)->counters->drop_##name++, WP_DROP)

/* What the layer tells a program when it is loaded; not for programs. */
struct wp_link {
  __u32 next;      /* slot of the chain to go on to */
  __u32 slot;      /* the program's own */
  __u32 verdict;   /* of an exit tap: the one that it is called for */
  __u32 test_mode; /* non-zero: time and random numbers are the test's */
};

WP_INLINE __u32 wp_test_random(__u64 now) {
  return (__u32)((now * 0x9e3779b97f4a7c15ull) >> 32);
}

#ifdef __bpf__
#include "program_bpf.h"
#else
#include "program_native.h"
#endif

#endif
