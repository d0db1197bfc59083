/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 * Changes to the maps of native_map.h, which explains them and includes this. */
#ifndef WIREPATH_NATIVE_MAP_WRITE_H
#define WIREPATH_NATIVE_MAP_WRITE_H

#include "native_map.h"

#ifdef __cplusplus
extern "C" {
#endif

/* --- changes; `s` is locked ------------------------------------------------------------------ */

WP_MAP_INLINE void wp_shard_unlink(struct wp_map* m, struct wp_shard* s, struct wp_node* gone,
                                   __u32 number, __u32 instead) {
  __u32* at = &s->heads[gone->hash & s->mask];
  while (*at != number) at = &wp_node_at(m, *at, m->node_stride)->next;
  __atomic_store_n(at, instead, __ATOMIC_SEQ_CST); /* see wp_find */
  gone->state = WP_NODE_LIMBO;
  gone->link = 0;
  gone->epoch = __atomic_fetch_add(&m->epochs->now, 1, __ATOMIC_SEQ_CST);
  if (s->limbo_tail)
    wp_node_at(m, s->limbo_tail, m->node_stride)->link = number;
  else
    s->limbo_head = number;
  s->limbo_tail = number;
}

/* A node to fill, 0 = none: spares are still in sight. */
WP_MAP_INLINE __u32 wp_shard_take(struct wp_map* m, struct wp_shard* s) {
  __u32 number = s->free_list;
  if (number) {
    s->free_list = wp_node_at(m, number, m->node_stride)->link;
    return number;
  }
  if (s->fresh < s->nodes) return s->first + s->fresh++ + 1;
  number = s->limbo_head;
  if (!number) return 0;
  struct wp_node* n = wp_node_at(m, number, m->node_stride);
  if (!wp_epoch_over(m->epochs, n->epoch)) return 0;
  s->limbo_head = n->link;
  if (!s->limbo_head) s->limbo_tail = 0;
  return number;
}

WP_MAP_INLINE void wp_lpm_count(struct wp_map* m, const void* key, int by) {
  __u32 bits;
  memcpy(&bits, key, 4);
  m->counts[bits] += (__u32)by;
  const __u64 bit = 1ull << (bits % 64);
  if (m->counts[bits] == 0)
    __atomic_fetch_and(&m->lengths[bits / 64], ~bit, __ATOMIC_RELEASE);
  else if (by > 0 && m->counts[bits] == 1)
    __atomic_fetch_or(&m->lengths[bits / 64], bit, __ATOMIC_RELEASE);
}

/* Second chance: what was used since the hand last came by stays once more. Where so many in a row
 * were used the next one goes all the same, or a worker would walk the whole shard under its lock
 * whenever everything is in use. */
WP_MAP_INLINE int wp_shard_evict(struct wp_map* m, struct wp_shard* s) {
  __u32 spared = 0;
  for (__u32 tries = 0; tries < 2 * s->nodes; tries++) {
    if (s->hand >= s->fresh) s->hand = 0;
    const __u32 number = s->first + s->hand++ + 1;
    struct wp_node* n = wp_node_at(m, number, m->node_stride);
    if (n->state != WP_NODE_LIVE) continue; /* spares: these only */
    if (spared < WP_EVICT_TRIES && __atomic_load_n(&n->used, __ATOMIC_RELAXED)) {
      __atomic_store_n(&n->used, 0, __ATOMIC_RELAXED);
      spared++;
      continue;
    }
    wp_shard_unlink(m, s, n, number, n->next);
    s->live--;
    return 1;
  }
  return 0;
}

/* slot < 0: the values of all slots are given, value_stride apart. */
WP_MAP_INLINE void wp_node_fill(struct wp_map* m, struct wp_node* n, const void* value, int slot) {
  __u8* to = (__u8*)n + m->value_at;
  if (m->slots == 1) {
    memcpy(to, value, m->value_size);
  } else if (slot < 0) {
    memcpy(to, value, (__u64)m->value_stride * m->slots);
  } else {
    memset(to, 0, (__u64)m->value_stride * m->slots);
    memcpy(to + (__u64)slot * m->value_stride, value, m->value_size);
  }
}

WP_MAP_CALL int wp_hash_update(struct wp_map* m, const void* key, const void* value, __u64 how,
                               int slot) {
  const __u64 hash = wp_hash(key, m->key_size, m->seed);
  struct wp_shard* s = wp_shard_of(m, hash);
  wp_lock(&s->lock);
  struct wp_node* old = wp_find(m, key, m->key_size, m->node_stride, hash);
  int failed = 0;
  if (old && how == 1) {
    failed = -EEXIST;
  } else if (!old && how == 2) {
    failed = -ENOENT;
  } else if (old && m->slots > 1 && slot >= 0) {
    /* The slot's own worker: nobody else writes there. */
    wp_words_write((__u8*)old + m->value_at + (__u64)slot * m->value_stride, value, m->value_size);
  } else {
    if (!old && s->live >= s->max) {
      if (!wp_kind_is_lru(m->kind))
        failed = m->kind == WP_KIND_LPM ? -ENOSPC : -E2BIG;
      else if (!wp_shard_evict(m, s))
        failed = -ENOMEM;
    }
    const __u32 number = failed ? 0 : wp_shard_take(m, s);
    if (!failed && !number) failed = -ENOMEM;
    if (!failed) {
      struct wp_node* n = wp_node_at(m, number, m->node_stride);
      n->hash = (__u32)hash;
      n->state = WP_NODE_LIVE;
      n->used = 0;
      memcpy(wp_node_key(n), key, m->key_size);
      wp_node_fill(m, n, value, slot);
      if (old) {
        n->used = __atomic_load_n(&old->used, __ATOMIC_RELAXED);
        n->next = old->next;
        const __u32 old_number = (__u32)(((__u8*)old - m->memory) / m->node_stride) + 1;
        wp_shard_unlink(m, s, old, old_number, number);
      } else {
        __u32* head = &s->heads[(__u32)hash & s->mask];
        n->next = *head;
        __atomic_store_n(head, number, __ATOMIC_RELEASE);
        s->live++;
        if (m->kind == WP_KIND_LPM) wp_lpm_count(m, key, 1);
      }
    }
  }
  wp_unlock(&s->lock);
  return failed;
}

WP_MAP_CALL int wp_hash_delete(struct wp_map* m, const void* key) {
  const __u64 hash = wp_hash(key, m->key_size, m->seed);
  struct wp_shard* s = wp_shard_of(m, hash);
  wp_lock(&s->lock);
  struct wp_node* n = wp_find(m, key, m->key_size, m->node_stride, hash);
  if (n) {
    wp_shard_unlink(m, s, n, (__u32)(((__u8*)n - m->memory) / m->node_stride) + 1, n->next);
    s->live--;
    if (m->kind == WP_KIND_LPM) wp_lpm_count(m, key, -1);
  }
  wp_unlock(&s->lock);
  return n ? 0 : -ENOENT;
}

/* slot < 0: `value` holds every slot's. */
WP_MAP_INLINE int wp_map_update(struct wp_map* m, __u32 kind, const void* key, const void* value,
                                __u64 how, int slot) {
  if (how > 2) return -EINVAL;
  if (wp_kind_is_array(kind)) {
    __u32 index;
    memcpy(&index, key, 4);
    if (index >= m->max_entries) return -E2BIG;
    if (how == 1) return -EEXIST;
    for (__u32 i = 0; i < m->slots; i++) {
      if (slot >= 0 && m->slots > 1 && (__u32)slot != i) continue;
      const __u8* from = (const __u8*)value + (slot < 0 ? (__u64)i * m->value_stride : 0);
      wp_words_write(m->memory + ((__u64)i * m->max_entries + index) * m->value_stride, from,
                     m->value_size);
    }
    return 0;
  }
  if (kind == WP_KIND_LPM) {
    __u32 bits;
    memcpy(&bits, key, 4);
    if (bits > (m->key_size - 4) * 8) return -EINVAL;
    __u8 masked[20] __attribute__((aligned(8)));
    wp_lpm_mask(key, m->key_size, bits, masked);
    return wp_hash_update(m, masked, value, how, slot);
  }
  return wp_hash_update(m, key, value, how, slot);
}

WP_MAP_INLINE int wp_map_delete(struct wp_map* m, __u32 kind, const void* key) {
  if (wp_kind_is_array(kind)) return -EINVAL;
  if (kind == WP_KIND_LPM) {
    __u32 bits;
    memcpy(&bits, key, 4);
    if (bits > (m->key_size - 4) * 8) return -EINVAL;
    __u8 masked[20] __attribute__((aligned(8)));
    wp_lpm_mask(key, m->key_size, bits, masked);
    return wp_hash_delete(m, masked);
  }
  return wp_hash_delete(m, key);
}

/* --- the ring: several writers under its lock, one reader ------------------------------------ */

WP_MAP_INLINE void wp_ring_put(struct wp_map* m, __u64 at, const void* from, __u64 n) {
  const __u64 size = m->memory_bytes, start = at & (size - 1);
  const __u64 first = n < size - start ? n : size - start;
  memcpy(m->memory + start, from, first);
  memcpy(m->memory, (const __u8*)from + first, n - first);
}

/* A record of two parts: its length in 8 bytes, then both, rounded to 8. */
WP_MAP_CALL int wp_ring_write(struct wp_map* m, const void* head, __u64 head_size, const void* body,
                              __u64 body_size, __u64 padded_body) {
  const __u64 length = head_size + padded_body, room = 8 + ((length + 7) & ~7ull);
  int failed = 0;
  wp_lock(&m->ring_lock);
  const __u64 tail = __atomic_load_n(&m->ring_tail, __ATOMIC_ACQUIRE);
  if (m->memory_bytes - (m->ring_head - tail) < room) {
    m->ring_dropped++;
    failed = -EAGAIN;
  } else {
    wp_ring_put(m, m->ring_head, &length, 8);
    wp_ring_put(m, m->ring_head + 8, head, head_size);
    wp_ring_put(m, m->ring_head + 8 + head_size, body, body_size);
    __atomic_store_n(&m->ring_head, m->ring_head + room, __ATOMIC_RELEASE);
  }
  wp_unlock(&m->ring_lock);
  return failed;
}

#ifdef __cplusplus
}
#endif

#endif
