/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 * The native half of program.h, which explains it: a program becomes a function over a batch, its
 * maps and counters an instance that the control plane makes. C, so that any compiler does. */
#ifndef WIREPATH_PROGRAM_NATIVE_H
#define WIREPATH_PROGRAM_NATIVE_H

#include "native_map.h"
#include "native_program.h"

#define WP_UNROLL

struct wp_packet {
  __u8* data;
  __u8* end;
  __u32 queue;
  __u32 interface;
  struct wp_counters* counters;
  /* not for programs */
  struct wp_instance* instance;
  __u8* room; /* [room, room_end) may be written */
  __u8* room_end;
  __u8* start;   /* where the frame began */
  __u8* scratch; /* to move to where the room does not do */
  __u64 time;
  __u32 slot;
  __u32 target;
};

WP_INLINE __u16 wp_load16(const void* p) {
  __u16 v;
  memcpy(&v, p, 2);
  return v;
}
WP_INLINE __u32 wp_load32(const void* p) {
  __u32 v;
  memcpy(&v, p, 4);
  return v;
}
WP_INLINE __u64 wp_load64(const void* p) {
  __u64 v;
  memcpy(&v, p, 8);
  return v;
}
WP_INLINE void wp_store16(void* p, __u16 v) {
  memcpy(p, &v, 2);
}
WP_INLINE void wp_store32(void* p, __u32 v) {
  memcpy(p, &v, 4);
}
WP_INLINE void wp_store64(void* p, __u64 v) {
  memcpy(p, &v, 8);
}

/* --- maps: each has a number within the program, its declaration registers itself --- */
static const struct wp_map_decl* wp_decls[WP_MAX_MAPS];
enum { wp_first_map = __COUNTER__ + 1 };

#define WP_DECLARE_MAP(kind_, name_, key_bytes, value_bytes, entries)                    \
  enum { wp_number_##name_ = __COUNTER__ - wp_first_map, wp_kind_##name_ = (kind_) };    \
  _Static_assert((int)wp_number_##name_ < WP_MAX_MAPS, "too many maps");                 \
  __attribute__((constructor)) static void wp_register_##name_(void) {                   \
    static const struct wp_map_decl decl = {#name_, (kind_), (key_bytes), (value_bytes), \
                                            (entries)};                                  \
    wp_decls[wp_number_##name_] = &decl;                                                 \
  }                                                                                      \
  _Static_assert(1, "")
#define WP_MAP(kind, name, key_type, value_type, entries)                                      \
  struct wp_types_##name {                                                                     \
    const key_type* key;                                                                       \
    value_type* value;                                                                         \
  };                                                                                           \
  _Static_assert(WP_KIND_##kind != WP_KIND_LPM || sizeof(key_type) <= 20, "LPM key too long"); \
  WP_DECLARE_MAP(WP_KIND_##kind, name, sizeof(key_type), sizeof(value_type), entries)
#define WP_PORTS(name, entries) WP_DECLARE_MAP(WP_KIND_PORTS, name, 4, 4, entries)
#define WP_RING(name, bytes) WP_DECLARE_MAP(WP_KIND_RING, name, 0, 0, bytes)

#define WP_KEY_OF(map, key_) (1 ? (key_) : ((struct wp_types_##map*)0)->key)
#define WP_VALUE_OF(map, value_) \
  (1 ? (value_) : (const __typeof__(*((struct wp_types_##map*)0)->value)*)0)
#define WP_MAP_OF(p, map) ((p)->instance->maps[wp_number_##map])
#define wp_lookup(p, map, key_)                                                    \
  ((__typeof__(((struct wp_types_##map*)0)->value))wp_map_lookup(                  \
      WP_MAP_OF(p, map), wp_kind_##map, sizeof(*((struct wp_types_##map*)0)->key), \
      sizeof(*((struct wp_types_##map*)0)->value), WP_KEY_OF(map, key_), (p)->slot))
#define wp_update(p, map, key_, value_, how)                                                      \
  wp_map_update(WP_MAP_OF(p, map), wp_kind_##map, WP_KEY_OF(map, key_), WP_VALUE_OF(map, value_), \
                how, (int)(p)->slot)
#define wp_delete(p, map, key_) \
  wp_map_delete(WP_MAP_OF(p, map), wp_kind_##map, WP_KEY_OF(map, key_))
#define wp_redirect(p, map, index) wp_redirect_to((p), WP_MAP_OF(p, map), (index))
WP_INLINE int wp_redirect_to(struct wp_packet* p, const struct wp_map* ports, __u32 index) {
  const __u32* entry = (const __u32*)wp_map_lookup(ports, WP_KIND_PORTS, 4, 4, &index, 0);
  const __u32 port = entry ? __atomic_load_n(entry, __ATOMIC_RELAXED) : 0;
  if (port == 0) return WP_ABORTED;
  p->target = port - 1;
  return WP_REDIRECT;
}

#define wp_add(pointer, n) ((void)__atomic_fetch_add(pointer, n, __ATOMIC_RELAXED))
#define wp_cas(pointer, old, new_) __sync_val_compare_and_swap(pointer, old, new_)
#define wp_read(place) __atomic_load_n(&(place), __ATOMIC_RELAXED)
#define wp_write(place, value_) __atomic_store_n(&(place), (value_), __ATOMIC_RELAXED)

#define wp_emit(p, ring, record, size) wp_ring_write(WP_MAP_OF(p, ring), record, size, "", 0, 0)
#define wp_sample(p, ring, head_, snap)                                   \
  wp_ring_write(WP_MAP_OF(p, ring), (head_), sizeof(*(head_)), (p)->data, \
                (p)->end - (p)->data < (snap) ? (__u64)((p)->end - (p)->data) : (snap), (snap))

/* --- configuration --- */
#define WP_CONFIG(type)                                               \
  struct wp_config_holder {                                           \
    type value;                                                       \
  };                                                                  \
  enum { wp_config_bytes = sizeof(type) };                            \
  __attribute__((constructor)) static void wp_register_config(void) { \
    wp_config_size = wp_config_bytes;                                 \
  }                                                                   \
  _Static_assert(1, "")
static __u32 wp_config_size;
#define wp_config(p) (&((const struct wp_config_holder*)(p)->instance->config)->value)

/* --- the packet --- */

/* The same limits as the kernel's BPF_PROG_RUN has: a page with 256 bytes in front of the frame,
 * 40 of them the kernel's, and 320 behind it. */
WP_INLINE int wp_to_scratch(struct wp_packet* p) {
  const ptrdiff_t at = WP_SCRATCH_FRONT + (p->data - p->start);
  const ptrdiff_t length = p->end - p->data;
  if (p->room == p->scratch + WP_SCRATCH_KEPT) return 0; /* is there already */
  if (at < WP_SCRATCH_KEPT || at + length > WP_SCRATCH_END) return 0;
  memcpy(p->scratch + at, p->data, (size_t)length);
  p->data = p->scratch + at;
  p->end = p->data + length;
  p->room = p->scratch + WP_SCRATCH_KEPT;
  p->room_end = p->scratch + WP_SCRATCH_END;
  return 1;
}
WP_INLINE int wp_adjust_head(struct wp_packet* p, int n) {
  if (p->end - p->data - n < 14) return -EINVAL;
  if (p->data - p->room + n < 0 && (!wp_to_scratch(p) || p->data - p->room + n < 0)) return -EINVAL;
  p->data += n;
  return 0;
}
WP_INLINE int wp_adjust_tail(struct wp_packet* p, int n) {
  if (p->end - p->data + n < 14) return -EINVAL;
  if (p->room_end - p->end < n && (!wp_to_scratch(p) || p->room_end - p->end < n)) return -EINVAL;
  if (n > 0) memset(p->end, 0, (size_t)n);
  p->end += n;
  return 0;
}
#define wp_exit_verdict(p) ((void)(p), WP_NEXT) /* there are no exit taps natively */
WP_INLINE __u64 wp_now(const struct wp_packet* p) {
  return p->time;
}
WP_INLINE __u32 wp_slot(const struct wp_packet* p) {
  return p->slot;
}
WP_INLINE __u32 wp_random(const struct wp_packet* p) {
  if (p->instance->test_mode) return wp_test_random(p->time);
  __u64* s = &p->instance->slot[p->slot].random; /* xorshift64 */
  *s ^= *s << 13;
  *s ^= *s >> 7;
  *s ^= *s << 17;
  return (__u32)(*s >> 32);
}

/* A program may define it in front of WP_PROGRAM: handed every burst first, at most 64 packets from
 * `first` on. It decides those that are quicker decided together, with all that the body would do
 * and count, and gives a bit for each of them. */
#ifndef WP_BURST
#define WP_BURST(instance, batch, first, packets, counts, slot, in_place) 0
#endif

/* Runs over a whole batch: the body is inlined, nothing is called through a pointer. */
#define WP_PROGRAM(name)                                                                         \
  WP_INLINE int wp_body_##name(struct wp_packet* p);                                             \
  static void wp_run_##name(struct wp_instance* instance, struct wp_batch* batch, __u32 slot,    \
                            int in_place) {                                                      \
    struct wp_counters* counts = (struct wp_counters*)wp_map_lookup(                             \
        instance->maps[wp_number_counters], WP_KIND_PERCPU_ARRAY, 4, sizeof(struct wp_counters), \
        &(__u32){0}, slot);                                                                      \
    __u64 decided = 0;                                                                           \
    for (__u32 i = 0; i < batch->count; i++) {                                                   \
      struct wp_packet packet;                                                                   \
      if (i % WP_EPOCH_PACKETS == 0) {                                                           \
        const __u32 left = batch->count - i;                                                     \
        const __u32 packets = left < WP_EPOCH_PACKETS ? left : WP_EPOCH_PACKETS;                 \
        wp_epoch_enter(&instance->epochs, slot);                                                 \
        decided = WP_BURST(instance, batch, i, packets, counts, slot, in_place);                 \
        if (decided == ~0ull >> (64 - packets)) {                                                \
          i += packets - 1;                                                                      \
          continue;                                                                              \
        }                                                                                        \
      }                                                                                          \
      if (decided >> i % WP_EPOCH_PACKETS & 1) continue;                                         \
      wp_packet_from(&packet, instance, batch, i, slot, in_place);                               \
      packet.counters = counts;                                                                  \
      __u32 verdict = (__u32)wp_body_##name(&packet);                                            \
      if (verdict > WP_NEXT) verdict = WP_ABORTED;                                               \
      counts->verdict[verdict]++;                                                                \
      wp_packet_back(&packet, batch, i, verdict);                                                \
    }                                                                                            \
    wp_epoch_leave(&instance->epochs, slot);                                                     \
  }                                                                                              \
  WP_EXPORT const struct wp_native_program* wp_program_##name(void);                             \
  WP_EXPORT const struct wp_native_program* wp_program_##name(void) {                            \
    static struct wp_native_program program = {WP_PROGRAM_ABI, 0, #name,                         \
                                               wp_decls,       0, &wp_run_##name};               \
    program.maps = __COUNTER__ - wp_first_map;                                                   \
    program.config_size = wp_config_size;                                                        \
    return &program;                                                                             \
  }                                                                                              \
  WP_INLINE int wp_body_##name(struct wp_packet* p)

WP_INLINE void wp_packet_from(struct wp_packet* p, struct wp_instance* instance,
                              struct wp_batch* batch, __u32 i, __u32 slot, int in_place) {
  p->start = p->data = p->room = batch->data[i];
  p->room_end = p->end = p->data + batch->length[i];
  p->queue = batch->queue;
  p->interface = batch->port;
  p->instance = instance;
  p->scratch = instance->slot[slot].scratch + (size_t)i * WP_SCRATCH_BYTES;
  p->time = (__u64)batch->timestamp[i];
  p->slot = slot;
  p->target = 0;
  if (!in_place) wp_to_scratch(p);
}
WP_INLINE void wp_packet_back(const struct wp_packet* p, struct wp_batch* batch, __u32 i,
                              __u32 verdict) {
  batch->verdict[i] = (__u8)verdict;
  batch->data[i] = p->data;
  batch->length[i] = (__u32)(p->end - p->data);
  if (verdict == WP_REDIRECT) batch->target[i] = (__u16)p->target;
}

#endif
