/* SPDX-License-Identifier: Apache-2.0
 *
 * Simulated: what a NIC can do.
 */
#ifndef WIREPATH_SIM_ETHERFABRIC_CAPABILITIES_H
#define WIREPATH_SIM_ETHERFABRIC_CAPABILITIES_H

#include <etherfabric/base.h>
#include <etherfabric/pd.h>

#ifdef __cplusplus
extern "C" {
#endif

enum ef_vi_capability {
  EF_VI_CAP_HW_RX_TIMESTAMPING,
  EF_VI_CAP_RX_MERGE,
  EF_VI_CAP_RX_FORCE_EVENT_MERGING,
};

int ef_vi_capabilities_get(ef_driver_handle handle, int ifindex, enum ef_vi_capability capability,
                           unsigned long* value);

#ifdef __cplusplus
}
#endif
#endif
