/* SPDX-License-Identifier: Apache-2.0
 *
 * Simulated: events, receive and transmit of one virtual interface.
 */
#ifndef WIREPATH_SIM_ETHERFABRIC_EF_VI_H
#define WIREPATH_SIM_ETHERFABRIC_EF_VI_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef int ef_driver_handle;
typedef uint64_t ef_addr;
typedef int ef_request_id;

#define EF_VI_DMA_ALIGN 64
#define EF_VI_EVENT_POLL_MIN_EVS 2
#define EF_VI_RECEIVE_BATCH 15
#define EF_VI_TRANSMIT_BATCH 64

enum ef_vi_flags {
  EF_VI_FLAGS_DEFAULT = 0,
  EF_VI_TX_IP_CSUM_DIS = 0x80,
  EF_VI_TX_TCPUDP_CSUM_DIS = 0x100,
  EF_VI_RX_TIMESTAMPS = 0x10000,
  EF_VI_RX_EVENT_MERGE = 0x200000,
};

enum ef_vi_arch {
  EF_VI_ARCH_FALCON,
  EF_VI_ARCH_EF10,
  EF_VI_ARCH_EF100,
  EF_VI_ARCH_EFCT,
  EF_VI_ARCH_AF_XDP,
};

struct ef_vi_nic_type {
  unsigned char arch;
  char variant;
  unsigned char revision;
  unsigned char nic_flags;
};

struct ef_sim_vi; /* rings and queues, see vi.h of the simulator's sources */

typedef struct ef_vi {
  struct ef_vi_nic_type nic_type;
  struct ef_sim_vi* sim;
} ef_vi;

/* --- events ------------------------------------------------------------------------------- */

enum {
  EF_EVENT_TYPE_RX,
  EF_EVENT_TYPE_TX,
  EF_EVENT_TYPE_RX_DISCARD,
  EF_EVENT_TYPE_TX_ERROR,
  EF_EVENT_TYPE_RX_NO_DESC_TRUNC,
  EF_EVENT_TYPE_SW,
  EF_EVENT_TYPE_OFLOW,
  EF_EVENT_TYPE_TX_WITH_TIMESTAMP,
  EF_EVENT_TYPE_RX_PACKED_STREAM,
  EF_EVENT_TYPE_RX_MULTI,
  EF_EVENT_TYPE_TX_ALT,
  EF_EVENT_TYPE_RX_MULTI_DISCARD,
  EF_EVENT_TYPE_RESET,
  EF_EVENT_TYPE_RX_MULTI_PKTS,
  EF_EVENT_TYPE_RX_REF,
  EF_EVENT_TYPE_RX_REF_DISCARD,
  EF_EVENT_TYPE_MAX,
};

enum {
  EF_EVENT_RX_DISCARD_CSUM_BAD,
  EF_EVENT_RX_DISCARD_MCAST_MISMATCH,
  EF_EVENT_RX_DISCARD_CRC_BAD,
  EF_EVENT_RX_DISCARD_TRUNC,
  EF_EVENT_RX_DISCARD_RIGHTS,
  EF_EVENT_RX_DISCARD_EV_ERROR,
  EF_EVENT_RX_DISCARD_OTHER,
  EF_EVENT_RX_DISCARD_INNER_CSUM_BAD,
  EF_EVENT_RX_DISCARD_MAX,
};

enum ef_vi_rx_discard_err_flags {
  EF_VI_DISCARD_RX_L4_CSUM_ERR = 0x1,
  EF_VI_DISCARD_RX_L3_CSUM_ERR = 0x2,
  EF_VI_DISCARD_RX_ETH_FCS_ERR = 0x4,
  EF_VI_DISCARD_RX_ETH_LEN_ERR = 0x8,
  EF_VI_DISCARD_RX_INNER_L4_CSUM_ERR = 0x20,
  EF_VI_DISCARD_RX_INNER_L3_CSUM_ERR = 0x40,
};

#define EF_EVENT_FLAG_SOP 1
#define EF_EVENT_FLAG_CONT 2

/* To be read by the macros below; rx_ref and rx_ref_discard are documented as fields. */
typedef struct {
  struct {
    unsigned type;
  } generic;
  union {
    struct {
      unsigned q_id, rq_id, len, flags, subtype;
    } sim_rx; /* RX, RX_DISCARD, RX_MULTI, RX_MULTI_DISCARD: there len counts descriptors */
    struct {
      unsigned desc_id;
    } sim_tx;
    struct {
      unsigned len, pkt_id, q_id;
    } rx_ref;
    struct {
      unsigned len, pkt_id, q_id, flags;
    } rx_ref_discard;
  };
} ef_event;

#define EF_EVENT_TYPE(e) ((e).generic.type)
#define EF_EVENT_RX_BYTES(e) ((e).sim_rx.len)
#define EF_EVENT_RX_RQ_ID(e) ((e).sim_rx.rq_id)
#define EF_EVENT_RX_SOP(e) ((e).sim_rx.flags & EF_EVENT_FLAG_SOP)
#define EF_EVENT_RX_CONT(e) ((e).sim_rx.flags & EF_EVENT_FLAG_CONT)
#define EF_EVENT_RX_DISCARD_RQ_ID(e) ((e).sim_rx.rq_id)
#define EF_EVENT_RX_DISCARD_SOP(e) ((e).sim_rx.flags & EF_EVENT_FLAG_SOP)
#define EF_EVENT_RX_DISCARD_CONT(e) ((e).sim_rx.flags & EF_EVENT_FLAG_CONT)
#define EF_EVENT_RX_DISCARD_TYPE(e) ((e).sim_rx.subtype)
#define EF_EVENT_RX_DISCARD_BYTES(e) ((e).sim_rx.len)
#define EF_EVENT_RX_MULTI_SOP(e) ((e).sim_rx.flags & EF_EVENT_FLAG_SOP)
#define EF_EVENT_RX_MULTI_CONT(e) ((e).sim_rx.flags & EF_EVENT_FLAG_CONT)
#define EF_EVENT_RX_MULTI_DISCARD_TYPE(e) ((e).sim_rx.subtype)

int ef_eventq_poll(ef_vi* vi, ef_event* events, int length);
unsigned ef_eventq_current(ef_vi* vi);
int ef_eventq_capacity(ef_vi* vi);

/* --- receive ------------------------------------------------------------------------------ */

#define EF_VI_SYNC_FLAG_CLOCK_SET 1
#define EF_VI_SYNC_FLAG_CLOCK_IN_SYNC 2

typedef struct {
  int64_t tv_sec;
  uint32_t tv_nsec;
  uint16_t tv_nsec_frac;
  uint16_t tv_flags;
} ef_precisetime;

int ef_vi_receive_prefix_len(const ef_vi* vi);
int ef_vi_receive_buffer_len(const ef_vi* vi);
void ef_vi_receive_set_buffer_len(ef_vi* vi, unsigned bytes);
int ef_vi_receive_space(const ef_vi* vi);
int ef_vi_receive_fill_level(const ef_vi* vi);
int ef_vi_receive_capacity(const ef_vi* vi);
int ef_vi_receive_init(ef_vi* vi, ef_addr address, ef_request_id id);
void ef_vi_receive_push(ef_vi* vi);
int ef_vi_receive_get_bytes(ef_vi* vi, const void* packet, uint16_t* bytes);
int ef_vi_receive_unbundle(ef_vi* vi, const ef_event* event, ef_request_id* ids);
int ef_vi_receive_set_discards(ef_vi* vi, unsigned flags);
uint64_t ef_vi_receive_get_discards(ef_vi* vi);
int ef_sim_receive_timestamp(ef_vi* vi, const void* packet, ef_precisetime* out);
/* A macro, as it is in Onload since 9.0. */
#define ef_vi_receive_get_precise_timestamp(vi, packet, out) \
  ef_sim_receive_timestamp((vi), (packet), (out))

/* --- transmit ----------------------------------------------------------------------------- */

int ef_vi_transmit_capacity(const ef_vi* vi);
int ef_vi_transmit_init(ef_vi* vi, ef_addr address, int bytes, ef_request_id id);
void ef_vi_transmit_push(ef_vi* vi);
int ef_vi_transmit_unbundle(ef_vi* vi, const ef_event* event, ef_request_id* ids);

const char* ef_vi_version_str(void);

#ifdef __cplusplus
}
#endif
#endif
