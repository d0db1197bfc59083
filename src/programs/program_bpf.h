/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 * The eBPF half of program.h, which explains it. */
#ifndef WIREPATH_PROGRAM_BPF_H
#define WIREPATH_PROGRAM_BPF_H

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#define WP_UNROLL _Pragma("unroll")

struct wp_packet {
  __u8* data;
  __u8* end;
  __u32 queue;
  __u32 interface;
  struct wp_counters* counters;
  struct xdp_md* ctx; /* not for programs: there is none in the native build */
};

/* Packets may be read unaligned. */
WP_INLINE __u16 wp_load16(const void* p) {
  return *(const __u16*)p;
}
WP_INLINE __u32 wp_load32(const void* p) {
  return *(const __u32*)p;
}
WP_INLINE __u64 wp_load64(const void* p) {
  return *(const __u64*)p;
}
WP_INLINE void wp_store16(void* p, __u16 v) {
  *(__u16*)p = v;
}
WP_INLINE void wp_store32(void* p, __u32 v) {
  *(__u32*)p = v;
}
WP_INLINE void wp_store64(void* p, __u64 v) {
  *(__u64*)p = v;
}

/* --- maps --- */
#define WP_TYPE_ARRAY BPF_MAP_TYPE_ARRAY
#define WP_TYPE_HASH BPF_MAP_TYPE_HASH
#define WP_TYPE_LRU_HASH BPF_MAP_TYPE_LRU_HASH
#define WP_TYPE_LPM BPF_MAP_TYPE_LPM_TRIE
#define WP_TYPE_PERCPU_ARRAY BPF_MAP_TYPE_PERCPU_ARRAY
#define WP_TYPE_PERCPU_HASH BPF_MAP_TYPE_PERCPU_HASH
#define WP_TYPE_LRU_PERCPU_HASH BPF_MAP_TYPE_LRU_PERCPU_HASH
#define WP_FLAGS_ARRAY 0
#define WP_FLAGS_HASH 0
#define WP_FLAGS_LRU_HASH 0
#define WP_FLAGS_LPM BPF_F_NO_PREALLOC /* the kernel takes no other */
#define WP_FLAGS_PERCPU_ARRAY 0
#define WP_FLAGS_PERCPU_HASH 0
#define WP_FLAGS_LRU_PERCPU_HASH 0

#define WP_MAP(kind, name, key_type, value_type, entries) \
  struct {                                                \
    __uint(type, WP_TYPE_##kind);                         \
    __uint(max_entries, entries);                         \
    __uint(map_flags, WP_FLAGS_##kind);                   \
    __type(key, key_type);                                \
    __type(value, value_type);                            \
  } name SEC(".maps")
#define WP_PORTS(name, entries)        \
  struct {                             \
    __uint(type, BPF_MAP_TYPE_DEVMAP); \
    __uint(max_entries, entries);      \
    __type(key, __u32);                \
    __type(value, __u32);              \
  } name SEC(".maps")
#define WP_RING(name, bytes)            \
  struct {                              \
    __uint(type, BPF_MAP_TYPE_RINGBUF); \
    __uint(max_entries, bytes);         \
  } name SEC(".maps")

/* The conditional makes the compiler check the pointers' types. */
#define WP_KEY_OF(map, key_) (1 ? (key_) : (const __typeof__(*(map).key)*)0)
#define WP_VALUE_OF(map, value_) (1 ? (value_) : (const __typeof__(*(map).value)*)0)
#define wp_lookup(p, map, key_) \
  ((void)(p), (__typeof__((map).value))bpf_map_lookup_elem(&(map), WP_KEY_OF(map, key_)))
#define wp_update(p, map, key_, value_, how) \
  ((void)(p), bpf_map_update_elem(&(map), WP_KEY_OF(map, key_), WP_VALUE_OF(map, value_), how))
#define wp_delete(p, map, key_) ((void)(p), bpf_map_delete_elem(&(map), WP_KEY_OF(map, key_)))
#define wp_redirect(p, map, index) ((void)(p), (int)bpf_redirect_map(&(map), index, XDP_ABORTED))

#define wp_add(pointer, n) ((void)__sync_fetch_and_add(pointer, n))
#define wp_cas(pointer, old, new_) __sync_val_compare_and_swap(pointer, old, new_)
#define wp_read(place) (*(const volatile __typeof__(place)*)&(place))
#define wp_write(place, value_) (*(volatile __typeof__(place)*)&(place) = (value_))

#define wp_emit(p, ring, record, size) \
  ((void)(p), bpf_ringbuf_output(&(ring), (void*)(record), size, 0))
#define wp_sample(p, ring, head_, snap)                                         \
  ({                                                                            \
    struct wp_sample_record {                                                   \
      __u8 head[sizeof(*(head_))];                                              \
      __u8 frame[snap];                                                         \
    }* wp_r = bpf_ringbuf_reserve(&(ring), sizeof(struct wp_sample_record), 0); \
    int wp_failed = -11; /* EAGAIN */                                           \
    if (wp_r) {                                                                 \
      __u64 wp_n = (__u64)((p)->end - (p)->data);                               \
      if (wp_n > (snap)) wp_n = (snap);                                         \
      __builtin_memcpy(wp_r->head, (head_), sizeof(wp_r->head));                \
      if (wp_n > 0) bpf_xdp_load_bytes((p)->ctx, 0, wp_r->frame, (__u32)wp_n);  \
      bpf_ringbuf_submit(wp_r, 0);                                              \
      wp_failed = 0;                                                            \
    }                                                                           \
    wp_failed;                                                                  \
  })

/* --- what the layer sets --- */
const volatile struct wp_link wp_link = {};
volatile __u64 wp_test_now = 0; /* in test mode: what wp_now() gives */

#define WP_CONFIG(type) const volatile type wp_config_data = {}
#define wp_config(p) ((void)(p), &wp_config_data)

struct {
  __uint(type, BPF_MAP_TYPE_PROG_ARRAY);
  __uint(max_entries, WP_CHAIN_SIZE);
  __type(key, __u32);
  __type(value, __u32);
} wp_chain SEC(".maps");

/* --- the packet --- */
WP_INLINE void wp_reload(struct wp_packet* p) {
  p->data = (__u8*)(long)p->ctx->data;
  p->end = (__u8*)(long)p->ctx->data_end;
}
WP_INLINE int wp_adjust_head(struct wp_packet* p, int n) {
  const int failed = (int)bpf_xdp_adjust_head(p->ctx, n);
  wp_reload(p); /* the verifier takes the old pointers away even where it failed */
  return failed;
}
WP_INLINE int wp_adjust_tail(struct wp_packet* p, int n) {
  const int failed = (int)bpf_xdp_adjust_tail(p->ctx, n);
  wp_reload(p);
  return failed;
}
WP_INLINE __u64 wp_now(const struct wp_packet* p) {
  (void)p;
  return wp_link.test_mode ? wp_test_now : bpf_ktime_get_ns();
}
WP_INLINE __u32 wp_random(const struct wp_packet* p) {
  (void)p;
  return wp_link.test_mode ? wp_test_random(wp_test_now) : bpf_get_prandom_u32();
}
WP_INLINE __u32 wp_slot(const struct wp_packet* p) {
  (void)p;
  return bpf_get_smp_processor_id();
}

/* A tail call to a constant slot is a jump that the kernel patches (x86-64), and nothing at all
 * while the slot is empty. */
WP_INLINE int wp_exit_through(struct xdp_md* ctx, int verdict) {
  switch (verdict) {
    case XDP_DROP:
      bpf_tail_call(ctx, &wp_chain, WP_SLOT_EXIT + XDP_DROP);
      return XDP_DROP;
    case XDP_PASS:
      bpf_tail_call(ctx, &wp_chain, WP_SLOT_EXIT + XDP_PASS);
      return XDP_PASS;
    case XDP_TX:
      bpf_tail_call(ctx, &wp_chain, WP_SLOT_EXIT + XDP_TX);
      return XDP_TX;
    case XDP_REDIRECT:
      bpf_tail_call(ctx, &wp_chain, WP_SLOT_EXIT + XDP_REDIRECT);
      return XDP_REDIRECT;
    default:
      bpf_tail_call(ctx, &wp_chain, WP_SLOT_EXIT + XDP_ABORTED);
      return XDP_ABORTED;
  }
}
WP_INLINE int wp_leave(struct xdp_md* ctx, int verdict) {
  if (verdict == WP_NEXT) {
    bpf_tail_call(ctx, &wp_chain, wp_link.next);
    verdict = XDP_PASS;
  }
  return wp_exit_through(ctx, verdict);
}
#define wp_exit_verdict(p) ((void)(p), (int)wp_link.verdict)

#define WP_PROGRAM(name)                                           \
  WP_INLINE int wp_body_##name(struct wp_packet* p);               \
  SEC("xdp") int wirepath_##name(struct xdp_md* ctx) {             \
    const __u32 zero = 0;                                          \
    struct wp_packet packet = {                                    \
        .data = (__u8*)(long)ctx->data,                            \
        .end = (__u8*)(long)ctx->data_end,                         \
        .queue = ctx->rx_queue_index,                              \
        .interface = ctx->ingress_ifindex,                         \
        .counters = bpf_map_lookup_elem(&counters, &zero),         \
        .ctx = ctx,                                                \
    };                                                             \
    if (!packet.counters) return XDP_ABORTED;                      \
    __u32 verdict = (__u32)wp_body_##name(&packet);                \
    if (verdict > WP_NEXT) verdict = WP_ABORTED;                   \
    packet.counters->verdict[verdict]++;                           \
    if (wp_link.slot >= WP_SLOT_EXIT) return (int)wp_link.verdict; \
    return wp_leave(ctx, (int)verdict);                            \
  }                                                                \
  char wp_license[] SEC("license") = "GPL";                        \
  WP_INLINE int wp_body_##name(struct wp_packet* p)

#endif
