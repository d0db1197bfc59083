/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * The maps of natively built packet programs, in C so that a program and its control plane share
 * them. What a program calls with constant kind and sizes is inlined down to its few loads.
 *
 * Hash kinds are chained tables over nodes that are allocated once. Readers take no lock: nodes
 * are linked with release stores, and one that is taken out is used again only when every worker
 * that might still see it has passed on (epochs). Writers take the lock of a shard; LRU kinds of
 * some size have 16 shards, the others one, whose bound is exact. LRU: second chance over the
 * nodes of the shard, for so many of them as a worker has time for. LPM is a hash over (length,
 * masked address), asked from the longest length in use down. Per-CPU kinds have one value a slot,
 * and a slot is one worker's.
 *
 * A hash entry is replaced as a whole. A value of an array kind stays where it is and changes word
 * by word (8 bytes), as in the kernel: no word is ever torn, two of them may be of two values.
 */
#ifndef WIREPATH_NATIVE_MAP_H
#define WIREPATH_NATIVE_MAP_H

#include <errno.h>
#include <linux/types.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#define WP_MAP_INLINE static __attribute__((always_inline, unused)) inline
#define WP_MAP_CALL static __attribute__((noinline, unused))

enum wp_map_kind {
  WP_KIND_ARRAY = 1,
  WP_KIND_HASH,
  WP_KIND_LRU_HASH,
  WP_KIND_LPM,
  WP_KIND_PERCPU_ARRAY,
  WP_KIND_PERCPU_HASH,
  WP_KIND_LRU_PERCPU_HASH,
  WP_KIND_PORTS, /* ARRAY of __u32: 0 = none, else 1 + number of the port */
  WP_KIND_RING,
};

#define WP_MAX_SLOTS 64
#define WP_MAX_SHARDS 16
#define WP_SPARE_NODES                                                       \
  1024 /* taken out and perhaps still seen: more than a worker's few packets \
        */

#define WP_EVICT_TRIES 64 /* used nodes that get a second chance each time: the lock is held */

struct wp_map_decl {
  const char* name;
  __u32 kind, key_size, value_size, max_entries;
};

/* Which worker may still see what. `seen` of an idle worker is 0. */
struct wp_epochs {
  __u64 now; /* from 1 */
  __u32 slots;
  __u32 pad_[13];
  struct {
    __u64 seen;
    __u64 pad_[7];
  } slot[WP_MAX_SLOTS];
};

WP_MAP_INLINE void wp_epoch_enter(struct wp_epochs* e, __u32 slot) {
  const __u64 now = __atomic_load_n(&e->now, __ATOMIC_SEQ_CST);
  __atomic_exchange_n(&e->slot[slot].seen, now, __ATOMIC_SEQ_CST);
}
WP_MAP_INLINE void wp_epoch_leave(struct wp_epochs* e, __u32 slot) {
  __atomic_store_n(&e->slot[slot].seen, 0, __ATOMIC_RELEASE);
}
/* Nobody can see any more what was taken out in `epoch`. */
WP_MAP_INLINE int wp_epoch_over(const struct wp_epochs* e, __u64 epoch) {
  for (__u32 i = 0; i < e->slots; i++) {
    const __u64 seen = __atomic_load_n(&e->slot[i].seen, __ATOMIC_SEQ_CST);
    if (seen != 0 && seen <= epoch) return 0;
  }
  return 1;
}

enum { WP_NODE_FREE, WP_NODE_LIVE, WP_NODE_LIMBO };
struct wp_node { /* key and values follow */
  __u32 next;    /* in its chain: 1 + index, 0 = end */
  __u32 link;    /* in the free list or in limbo */
  __u32 hash;
  __u8 state;
  __u8 used; /* since the LRU hand last came by */
  __u16 pad_;
  __u64 epoch; /* of limbo */
};

struct wp_shard {
  __u32 lock;
  __u32 live;
  __u32 max;
  __u32 nodes; /* of this shard, spares included */
  __u32 first; /* index of its first node */
  __u32 fresh; /* nodes never used yet begin here */
  __u32 free_list;
  __u32 limbo_head, limbo_tail;
  __u32 hand;
  __u32 mask; /* of its heads */
  __u32 pad_;
  __u32* heads;
  __u64 pad2_;
};

struct wp_map {
  __u32 kind, key_size, value_size, max_entries;
  __u32 slots;        /* values an entry: 1, or those of a per-CPU kind */
  __u32 value_stride; /* bytes from a slot's value to the next */
  __u32 node_stride, value_at;
  __u8* memory; /* values of array kinds, nodes of hash kinds, bytes of a ring */
  __u64 memory_bytes;
  __u64 seed;
  struct wp_epochs* epochs;
  __u32 shards, shard_shift;
  struct wp_shard* shard;
  __u64 lengths[3];  /* LPM: bit n: prefixes of n bits are there */
  __u32 counts[129]; /* LPM: how many of n bits; under the lock */
  __u32 ring_lock;
  __u64 ring_head, ring_tail, ring_dropped; /* RING: bytes written, read; records lost */
};

WP_MAP_INLINE __u32 wp_round8(__u32 n) {
  return (n + 7) & ~7u;
}

WP_MAP_INLINE int wp_kind_is_lru(__u32 kind) {
  return kind == WP_KIND_LRU_HASH || kind == WP_KIND_LRU_PERCPU_HASH;
}
WP_MAP_INLINE int wp_kind_is_array(__u32 kind) {
  return kind == WP_KIND_ARRAY || kind == WP_KIND_PERCPU_ARRAY || kind == WP_KIND_PORTS;
}
WP_MAP_INLINE int wp_kind_is_percpu(__u32 kind) {
  return kind == WP_KIND_PERCPU_ARRAY || kind == WP_KIND_PERCPU_HASH ||
         kind == WP_KIND_LRU_PERCPU_HASH;
}

/* Values begin on a word and have room for whole ones, so that a copy tears none. */
typedef __u64 __attribute__((may_alias)) wp_word;
WP_MAP_INLINE void wp_words_write(void* to, const void* from, __u32 bytes) {
  for (__u32 at = 0; at < bytes; at += 8) {
    __u64 word = 0;
    memcpy(&word, (const __u8*)from + at, bytes - at < 8 ? bytes - at : 8);
    __atomic_store_n((wp_word*)((__u8*)to + at), word, __ATOMIC_RELAXED);
  }
}
WP_MAP_INLINE void wp_words_read(void* to, const void* from, __u32 bytes) {
  for (__u32 at = 0; at < bytes; at += 8) {
    const __u64 word = __atomic_load_n((const wp_word*)((const __u8*)from + at), __ATOMIC_RELAXED);
    memcpy((__u8*)to + at, &word, bytes - at < 8 ? bytes - at : 8);
  }
}

/* Folded 64x64 multiplication, word by word. The seed differs from map to map and run to run, so
 * that nobody outside can choose keys of one bucket. */
WP_MAP_INLINE __u64 wp_hash_mix(__u64 a, __u64 b) {
  const unsigned __int128 m = (unsigned __int128)a * b;
  return (__u64)m ^ (__u64)(m >> 64);
}
WP_MAP_INLINE __u64 wp_hash(const void* key, __u32 size, __u64 seed) {
  const __u8* p = (const __u8*)key;
  __u64 h = seed ^ 0x9e3779b97f4a7c15ull;
  __u32 at = 0;
  for (; at + 8 <= size; at += 8) {
    __u64 word;
    memcpy(&word, p + at, 8);
    h = wp_hash_mix(h ^ word, 0xd6e8feb86659fd93ull);
  }
  if (at < size) {
    __u64 word = 0;
    memcpy(&word, p + at, size - at);
    h = wp_hash_mix(h ^ word, 0xa0761d6478bd642full);
  }
  return wp_hash_mix(h ^ size, 0xe7037ed1a0b428dbull);
}

WP_MAP_INLINE void wp_lock(__u32* lock) {
  for (__u32 tries = 0; __atomic_exchange_n(lock, 1, __ATOMIC_ACQUIRE); tries++) {
    /* The holder may be a control thread that lost this very core. */
    if (tries % 64 == 63) sched_yield();
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
  }
}
WP_MAP_INLINE void wp_unlock(__u32* lock) {
  __atomic_store_n(lock, 0, __ATOMIC_RELEASE);
}

WP_MAP_INLINE struct wp_node* wp_node_at(const struct wp_map* m, __u32 number, __u32 stride) {
  return (struct wp_node*)(m->memory + (__u64)(number - 1) * stride);
}
WP_MAP_INLINE __u8* wp_node_key(struct wp_node* n) {
  return (__u8*)(n + 1);
}
WP_MAP_INLINE __u32 wp_node_stride(__u32 key_size, __u32 value_size, __u32 slots) {
  return (__u32)sizeof(struct wp_node) + wp_round8(key_size) + wp_round8(value_size) * slots;
}

/* Which shard: bits of the hash that the heads do not use. */
WP_MAP_INLINE struct wp_shard* wp_shard_of(const struct wp_map* m, __u64 hash) {
  return &m->shard[m->shard_shift ? hash >> m->shard_shift : 0];
}

WP_MAP_INLINE struct wp_node* wp_find(const struct wp_map* m, const void* key, __u32 key_size,
                                      __u32 stride, __u64 hash) {
  /* In one order with the epochs, on every kind of CPU: whoever takes a node out sees that we are
   * here, or we don't see the node any more (a plain load on x86-64, an acquiring one on AArch64).
   */
  const struct wp_shard* s = wp_shard_of(m, hash);
  __u32 number = __atomic_load_n(&s->heads[(__u32)hash & s->mask], __ATOMIC_SEQ_CST);
  while (number) {
    struct wp_node* n = wp_node_at(m, number, stride);
    if (n->hash == (__u32)hash && memcmp(wp_node_key(n), key, key_size) == 0) return n;
    number = __atomic_load_n(&n->next, __ATOMIC_SEQ_CST);
  }
  return NULL;
}

/* A copy of `key` that holds its first `bits` bits only. */
WP_MAP_INLINE void wp_lpm_mask(const void* key, __u32 key_size, __u32 bits, __u8* out) {
  const __u8* from = (const __u8*)key + 4;
  memcpy(out, &bits, 4);
  for (__u32 i = 0; i < key_size - 4; i++) {
    const __u32 left = bits > i * 8 ? bits - i * 8 : 0;
    out[4 + i] = left >= 8 ? from[i] : (__u8)(from[i] & (__u8)(0xff00u >> left));
  }
}

WP_MAP_INLINE struct wp_node* wp_lpm_find(const struct wp_map* m, const void* key, __u32 key_size,
                                          __u32 stride) {
  __u32 most;
  memcpy(&most, key, 4);
  if (most > (key_size - 4) * 8) most = (key_size - 4) * 8;
  for (int word = (int)(most / 64); word >= 0; word--) {
    __u64 left = __atomic_load_n(&m->lengths[word], __ATOMIC_ACQUIRE);
    if ((__u32)word == most / 64 && most % 64 != 63) left &= (2ull << (most % 64)) - 1;
    while (left) {
      const __u32 bit = 63u - (__u32)__builtin_clzll(left);
      __u8 masked[20] __attribute__((aligned(8)));
      wp_lpm_mask(key, key_size, (__u32)word * 64 + bit, masked);
      struct wp_node* n = wp_find(m, masked, key_size, stride, wp_hash(masked, key_size, m->seed));
      if (n) return n;
      left &= ~(1ull << bit);
    }
  }
  return NULL;
}

/* The program's lookup: kind and sizes are constants. */
WP_MAP_INLINE void* wp_map_lookup(const struct wp_map* m, __u32 kind, __u32 key_size,
                                  __u32 value_size, const void* key, __u32 slot) {
  const __u32 value_stride = wp_round8(value_size);
  if (wp_kind_is_array(kind)) {
    __u32 index;
    memcpy(&index, key, 4);
    if (index >= m->max_entries) return NULL;
    if (kind == WP_KIND_PERCPU_ARRAY)
      return m->memory + ((__u64)slot * m->max_entries + index) * value_stride;
    return m->memory + (__u64)index * value_stride;
  }
  const __u32 stride =
      wp_kind_is_percpu(kind) ? m->node_stride : wp_node_stride(key_size, value_size, 1);
  struct wp_node* n = kind == WP_KIND_LPM
                          ? wp_lpm_find(m, key, key_size, stride)
                          : wp_find(m, key, key_size, stride, wp_hash(key, key_size, m->seed));
  if (!n) return NULL;
  if (wp_kind_is_lru(kind) && !__atomic_load_n(&n->used, __ATOMIC_RELAXED))
    __atomic_store_n(&n->used, 1, __ATOMIC_RELAXED);
  __u8* value = wp_node_key(n) + wp_round8(key_size);
  return wp_kind_is_percpu(kind) ? value + (__u64)slot * value_stride : value;
}

#ifdef __cplusplus
}
#endif

#include "native_map_write.h"

#endif
