/* SPDX-License-Identifier: Apache-2.0
 *
 * Simulator of the part of ef_vi that wirepath calls, source-compatible with Onload's
 * documentation and written from it. Nothing here is Onload's, and nothing here drives a NIC:
 * frames come from a packet socket.
 */
#ifndef WIREPATH_SIM_ETHERFABRIC_BASE_H
#define WIREPATH_SIM_ETHERFABRIC_BASE_H

#include <etherfabric/ef_vi.h>

#ifdef __cplusplus
extern "C" {
#endif

#define EF_VI_NIC_PAGE_SHIFT 12
#define EF_VI_NIC_PAGE_SIZE (1 << EF_VI_NIC_PAGE_SHIFT)

int ef_driver_open(ef_driver_handle* handle);
int ef_driver_close(ef_driver_handle handle);

#ifdef __cplusplus
}
#endif
#endif
