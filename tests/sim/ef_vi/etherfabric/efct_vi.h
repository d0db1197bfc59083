/* SPDX-License-Identifier: Apache-2.0
 *
 * Simulated: packets in shared hardware buffers (X3).
 */
#ifndef WIREPATH_SIM_ETHERFABRIC_EFCT_VI_H
#define WIREPATH_SIM_ETHERFABRIC_EFCT_VI_H

#include <etherfabric/ef_vi.h>

#ifdef __cplusplus
extern "C" {
#endif

const void* efct_vi_rxpkt_get(struct ef_vi* vi, uint32_t packet_id);
void efct_vi_rxpkt_release(struct ef_vi* vi, uint32_t packet_id);

#ifdef __cplusplus
}
#endif
#endif
