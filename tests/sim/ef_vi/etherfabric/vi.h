/* SPDX-License-Identifier: Apache-2.0
 *
 * Simulated: virtual interfaces and their filters.
 */
#ifndef WIREPATH_SIM_ETHERFABRIC_VI_H
#define WIREPATH_SIM_ETHERFABRIC_VI_H

#include <etherfabric/base.h>
#include <etherfabric/ef_vi.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ef_pd;
struct in6_addr;

int ef_vi_alloc_from_pd(ef_vi* vi, ef_driver_handle vi_handle, struct ef_pd* pd,
                        ef_driver_handle pd_handle, int event_slots, int rx_slots, int tx_slots,
                        ef_vi* event_queue, ef_driver_handle event_handle, enum ef_vi_flags flags);
int ef_vi_free(ef_vi* vi, ef_driver_handle handle);
unsigned ef_vi_mtu(ef_vi* vi, ef_driver_handle handle);
int ef_vi_prime(ef_vi* vi, ef_driver_handle handle, unsigned current);

/* --- filters ------------------------------------------------------------------------------ */

enum ef_filter_flags {
  EF_FILTER_FLAG_NONE = 0,
  EF_FILTER_FLAG_REQUEST_WAKEUPS = 0x10,
};
enum { EF_FILTER_VLAN_ID_ANY = -1 };

typedef struct ef_filter_spec {
  unsigned type;
  unsigned flags;
  unsigned data[12];
} ef_filter_spec;

typedef struct ef_filter_cookie {
  int filter_id;
  int filter_type;
} ef_filter_cookie;

void ef_filter_spec_init(ef_filter_spec* filter, enum ef_filter_flags flags);
int ef_filter_spec_set_ip4_local(ef_filter_spec* filter, int protocol, unsigned address_be32,
                                 int port_be16);
int ef_filter_spec_set_ip6_local(ef_filter_spec* filter, int protocol,
                                 const struct in6_addr* address, int port_be16);
int ef_filter_spec_set_eth_local(ef_filter_spec* filter, int vlan, const void* mac);
int ef_filter_spec_set_unicast_all(ef_filter_spec* filter);
int ef_filter_spec_set_multicast_all(ef_filter_spec* filter);
int ef_filter_spec_set_unicast_mismatch(ef_filter_spec* filter);
int ef_filter_spec_set_multicast_mismatch(ef_filter_spec* filter);
int ef_filter_spec_set_port_sniff(ef_filter_spec* filter, int promiscuous);
int ef_vi_filter_add(ef_vi* vi, ef_driver_handle handle, const ef_filter_spec* filter,
                     ef_filter_cookie* cookie);

#ifdef __cplusplus
}
#endif
#endif
