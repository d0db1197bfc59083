/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * Look-up of addresses in tables of prefixes, for packet programs. The tables are built by
 * src/native/net/prefix_table.h, which explains their form; what they cost does not depend on
 * how many prefixes they hold.
 *
 *   WP_PREFIX4(from4);   declares the maps from4_root and from4_nodes, and
 *                           __u32 from4_find(p, root_bits, address)
 *   WP_PREFIX6(from6);   declares the map from6_keys, and
 *                           __u32 from6_find(p, lengths, count, high, low)
 *
 * Names have at most 9 characters: the kernel cuts those of maps after 15.
 * Addresses are in host order. The answer is the class of the address; 0 = in no prefix. The
 * maps are resized when the program is loaded, the root to 2^root_bits / 256 entries.
 * `root_bits`, `lengths` and `count` belong into WP_CONFIG, so that they are constants.
 */
#ifndef WIREPATH_PREFIX_H
#define WIREPATH_PREFIX_H

#define WP_PREFIX_NODE 0x80000000u
#define WP_PREFIX6_LENGTHS 129
#define WP_PREFIX6_STEPS 8 /* halves 129 lengths down to none */

struct wp_prefix4_root {
  __u32 entry[256];
};
struct wp_prefix4_node {
  __u32 entry[16];
};
struct wp_prefix6_key {
  __u64 high;
  __u64 low;
  __u64 length;
};

#define WP_PREFIX4_STEP(name, shift)           \
  if (!(found & WP_PREFIX_NODE)) return found; \
  number = found & ~WP_PREFIX_NODE;            \
  node = wp_lookup(p, name##_nodes, &number);  \
  if (!node) return 0;                         \
  found = node->entry[(address >> ((shift)&31)) & 15];

#define WP_PREFIX4(name)                                                             \
  WP_MAP(ARRAY, name##_root, __u32, struct wp_prefix4_root, 1);                      \
  WP_MAP(ARRAY, name##_nodes, __u32, struct wp_prefix4_node, 1);                     \
  WP_INLINE __u32 name##_find(struct wp_packet* p, __u32 root_bits, __u32 address) { \
    const __u32 block = address >> ((40 - root_bits) & 31);                          \
    __u32 number;                                                                    \
    const struct wp_prefix4_node* node;                                              \
    const struct wp_prefix4_root* root = wp_lookup(p, name##_root, &block);          \
    if (!root) return 0;                                                             \
    __u32 found = root->entry[(address >> ((32 - root_bits) & 31)) & 255];           \
    WP_PREFIX4_STEP(name, 28 - root_bits)                                            \
    WP_PREFIX4_STEP(name, 24 - root_bits)                                            \
    WP_PREFIX4_STEP(name, 20 - root_bits)                                            \
    WP_PREFIX4_STEP(name, 16 - root_bits)                                            \
    return found;                                                                    \
  }                                                                                  \
  struct wp_packet

#define WP_PREFIX6(name)                                                                      \
  WP_MAP(HASH, name##_keys, struct wp_prefix6_key, __u32, 1);                                 \
  WP_INLINE __u32 name##_find(struct wp_packet* p, const volatile __u8* lengths, __u32 count, \
                              __u64 address_high, __u64 address_low) {                        \
    __u32 low = 0, high = count, found = 0;                                                   \
    for (int i = 0; i < WP_PREFIX6_STEPS; i++) {                                              \
      if (low >= high) break;                                                                 \
      const __u32 middle = (low + high) / 2;                                                  \
      if (middle >= WP_PREFIX6_LENGTHS) break;                                                \
      const __u32 length = lengths[middle];                                                   \
      struct wp_prefix6_key key = {address_high, 0, length};                                  \
      if (length == 0)                                                                        \
        key.high = 0;                                                                         \
      else if (length <= 64)                                                                  \
        key.high &= ~0ull << ((64 - length) & 63);                                            \
      else                                                                                    \
        key.low = address_low & ~0ull << ((128 - length) & 63);                               \
      const __u32* hit = wp_lookup(p, name##_keys, &key);                                     \
      if (hit) {                                                                              \
        found = *hit;                                                                         \
        low = middle + 1;                                                                     \
      } else {                                                                                \
        high = middle;                                                                        \
      }                                                                                       \
    }                                                                                         \
    return found;                                                                             \
  }                                                                                           \
  struct wp_packet

#endif
