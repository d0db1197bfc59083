/* SPDX-License-Identifier: Apache-2.0
 *
 * Simulated: protection domains.
 */
#ifndef WIREPATH_SIM_ETHERFABRIC_PD_H
#define WIREPATH_SIM_ETHERFABRIC_PD_H

#include <etherfabric/base.h>

#ifdef __cplusplus
extern "C" {
#endif

enum ef_pd_flags { EF_PD_DEFAULT = 0 };

struct ef_sim_pd;

typedef struct ef_pd {
  struct ef_sim_pd* sim;
} ef_pd;

int ef_pd_alloc(ef_pd* pd, ef_driver_handle handle, int ifindex, enum ef_pd_flags flags);
int ef_pd_free(ef_pd* pd, ef_driver_handle handle);

#ifdef __cplusplus
}
#endif
#endif
