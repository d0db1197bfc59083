/* SPDX-License-Identifier: Apache-2.0
 *
 * A stage in C: counts UDP datagrams over IPv4 without VLAN tag by destination port.
 *
 *   cc -O2 -shared -fPIC -I include count_ports.c -o count_ports.so
 *
 * where include is what `python -c "import wirepath as wp; print(wp.include())"` prints.
 */
#include <wirepath/batch.h>

WP_STAGE_ABI;

/* The least that the state may have: load_stage() checks it. */
WP_EXPORT extern const uint64_t count_ports_state_bytes;
const uint64_t count_ports_state_bytes = 65536 * sizeof(int64_t);

WP_EXPORT int count_ports(struct wp_batch* batch, void* state) {
  int64_t* counts = state;
  for (uint32_t i = 0; i < batch->count; i++) {
    const uint8_t* p = batch->data[i];
    if (batch->length[i] < 42 || p[12] != 0x08 || p[13] != 0x00) continue; /* IPv4 */
    const uint32_t udp = 14 + (p[14] & 15u) * 4;
    if (p[23] != 17 || batch->length[i] < udp + 8) continue; /* UDP */
    counts[p[udp + 2] << 8 | p[udp + 3]]++;
  }
  return 0;
}
