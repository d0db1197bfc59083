/* SPDX-License-Identifier: Apache-2.0
 *
 * What no Onload has: how the simulated NIC behaves, and the counters that a NIC's driver keeps.
 */
#ifndef WIREPATH_SIM_ETHERFABRIC_SIM_H
#define WIREPATH_SIM_ETHERFABRIC_SIM_H

#include <etherfabric/ef_vi.h>

#ifdef __cplusplus
extern "C" {
#endif

enum ef_sim_nic {
  EF_SIM_X2, /* descriptors per packet */
  EF_SIM_X3, /* shared hardware buffers */
};
enum ef_sim_clock {
  EF_SIM_CLOCK_SYNC, /* in sync with a PTP master */
  EF_SIM_CLOCK_SET,  /* set once, then left alone */
  EF_SIM_CLOCK_FREE, /* never set */
  EF_SIM_CLOCK_LATE, /* no stamps before the 20th frame */
  EF_SIM_CLOCK_NONE, /* the NIC cannot stamp */
};

/* Bits of `refuse`: kinds of filter that the NIC does not have. */
#define EF_SIM_REFUSE_IP6 1u
#define EF_SIM_REFUSE_SNIFF 2u
#define EF_SIM_REFUSE_ALL 4u       /* unicast_all, multicast_all */
#define EF_SIM_REFUSE_INTERRUPT 8u /* ef_vi_prime */
#define EF_SIM_REFUSE_MAC 16u      /* eth_local */

enum ef_sim_fault {
  EF_SIM_FAULT_NONE,
  EF_SIM_FAULT_OVERFLOW, /* the event queue runs over at the 50th frame, and is dead from then on */
  EF_SIM_FAULT_CRC,      /* every tenth frame received has a bad check sequence */
  EF_SIM_FAULT_TX,       /* every tenth frame to be sent is not, and completes with an error */
};

struct ef_sim_config {
  enum ef_sim_nic nic;
  enum ef_sim_clock clock;
  unsigned refuse;
  enum ef_sim_fault fault;
};

/* For the driver handles that the calling thread opens from now on. */
void ef_sim_configure(const struct ef_sim_config* config);

/* Frames that matched a filter while no buffer was posted, and frames lost before the filters.
 * Any thread may ask. */
void ef_sim_lost(const ef_vi* vi, uint64_t* no_descriptor, uint64_t* overrun);

#ifdef __cplusplus
}
#endif
#endif
