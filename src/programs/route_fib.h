/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * The bytes of a forwarding table, for packet programs and native code alike. A table is
 *
 *   root    2^24 entries, indexed by the first 24 bits of an address
 *   groups  256 entries each, indexed by the next 8 bits, and so on to the address's end
 *   state   struct wp_fib_state
 *
 * so that as array maps root has 65,536 values of 256 entries, and groups one value a group. An
 * entry is a next hop (0 = none: see default_next_hop), or has its top bit set and is the number of
 * a group.
 *
 * A reader takes no lock. A look-up that leaves the root is valid when `reused` is the same before
 * and after it; else a group that it went through may have been given to other addresses, and it is
 * done again. Entries may change between two look-ups, never within one. default_next_hop may be
 * read before the entry that says none: it is then as old as the beginning of the look-up.
 */
#ifndef WIREPATH_ROUTE_FIB_H
#define WIREPATH_ROUTE_FIB_H

#define WP_FIB_ROOT_BITS 24
#define WP_FIB_ROOT_ENTRIES (1u << WP_FIB_ROOT_BITS)
#define WP_FIB_GROUP_BITS 8
#define WP_FIB_GROUP_ENTRIES (1u << WP_FIB_GROUP_BITS)
#define WP_FIB_GROUP_FLAG32 0x80000000u /* in tables of 4-byte entries */
#define WP_FIB_GROUP_FLAG16 0x8000u     /* in tables of 2-byte entries */

struct wp_fib_state {
  unsigned long long reused;     /* counts groups given to other addresses */
  unsigned int default_next_hop; /* of addresses in no prefix but the one of length 0 */
  unsigned int reserved;
};

#endif
