/* SPDX-License-Identifier: Apache-2.0
 *
 * Simulated: memory registered for DMA. Addresses are contiguous within 4 KiB only.
 */
#ifndef WIREPATH_SIM_ETHERFABRIC_MEMREG_H
#define WIREPATH_SIM_ETHERFABRIC_MEMREG_H

#include <etherfabric/base.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ef_pd;
struct ef_sim_region;

typedef struct ef_memreg {
  struct ef_sim_region* sim;
} ef_memreg;

int ef_memreg_alloc(ef_memreg* region, ef_driver_handle region_handle, struct ef_pd* pd,
                    ef_driver_handle pd_handle, void* memory, size_t bytes);
int ef_memreg_free(ef_memreg* region, ef_driver_handle handle);
ef_addr ef_memreg_dma_addr(ef_memreg* region, size_t offset);

#ifdef __cplusplus
}
#endif
#endif
