// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The filter: rules by classification, not by a loop. Each thing that rules look at (source,
// ports, flags, …) is looked up once and gives a vector of the rules that it leaves possible;
// the first bit of what they have in common is the rule (Lakshman and Stiliadis, "High-Speed
// Policy-based Packet Forwarding", SIGCOMM 1998). wirepath/filter/compile.py fills the tables.
#include "programs/filter_cookie.h"
#include "programs/filter_packet.h"
#include "programs/filter_shared.h"
#include "programs/program.h"

WP_CONFIG(struct filter_config);

#define FILTER_COUNTERS(COUNT, DROP) \
  COUNT(not_ip)                      \
  COUNT(too_many_tags)               \
  COUNT(would_drop)                  \
  COUNT(sampled)                     \
  COUNT(samples_lost)                \
  COUNT(buckets_missed)              \
  COUNT(cookies_sent)                \
  COUNT(cookies_right)               \
  COUNT(cookies_declined)            \
  DROP(rule)                         \
  DROP(signature)                    \
  DROP(limit)                        \
  DROP(blocked)                      \
  DROP(cookie)                       \
  DROP(cookie_room)                  \
  DROP(malformed)                    \
  DROP(unmatched)
WP_COUNTERS(FILTER_COUNTERS);

WP_MAP(ARRAY, classes, __u32, struct filter_classes, 1);
WP_MAP(ARRAY, vectors, __u32, struct filter_vector, 1);
WP_MAP(ARRAY, rules, __u32, struct filter_rule, 1);
WP_MAP(PERCPU_ARRAY, counts, __u32, struct filter_count, 1);
WP_MAP(ARRAY, rule_buckets, __u32, struct filter_bucket, 1);
WP_MAP(LRU_HASH, source_buckets, struct filter_source, struct filter_bucket, 1);
WP_MAP(HASH, blocks, struct filter_address, struct filter_block, 1);
WP_RING(samples, 1 << 20);
WP_MAP(LRU_HASH, proven, struct filter_ends, __u64, 1);
WP_MAP(ARRAY, described, __u32, struct filter_text, 1);
WP_PREFIX4(from4);
WP_PREFIX4(to4);
WP_PREFIX6(from6);
WP_PREFIX6(to6);

/* The tail of everything that drops; a dry run only counts. `features` is wp_config(p)->features
 * read once: a constant to the verifier, which each reading anew would cost a load. */
#define FILTER_DROP_FOR(p, reason) \
  ((features & FILTER_DRY_RUN) ? (wp_count(p, would_drop), WP_NEXT) : wp_drop(p, reason))

WP_INLINE void filter_sample(struct wp_packet* p, __u32 name, __u32 drop) {
  const __u32 length = (__u32)(p->end - p->data);
  struct filter_sample head = {
      .time = wp_now(p),
      .length = length,
      .name = name,
      .drop = drop,
      .captured = length < FILTER_SNAP ? length : FILTER_SNAP,
  };
  if (wp_sample(p, samples, &head, FILTER_SNAP))
    wp_count(p, samples_lost);
  else
    wp_count(p, sampled);
}

/* One in `every`. */
WP_INLINE int filter_chosen(struct wp_packet* p, __u32 every) {
  return every == 1 || ((__u64)wp_random(p) * every) >> 32 == 0;
}

WP_INLINE void filter_account(struct wp_packet* p, __u32 features, __u32 name, int drop, int over) {
  struct filter_count* count = wp_lookup(p, counts, &name);
  const __u64 bytes = (__u64)(p->end - p->data);
  if (count) {
    count->packets++;
    count->bytes += bytes;
    if (over) {
      count->over_packets++;
      count->over_bytes += bytes;
    }
  }
  if (features & FILTER_WATCH)
    if (filter_chosen(p, wp_config(p)->watch_every)) filter_sample(p, name, (__u32)drop);
}

WP_INLINE int filter_is_blocked(struct wp_packet* p, const struct filter_packet* packet) {
  struct filter_address key = {0, 0xffff00000000ull | packet->source4};
  if (packet->is6) {
    key.high = packet->source6[0];
    key.low = packet->source6[1];
  }
  struct filter_block* block = wp_lookup(p, blocks, &key);
  if (!block || wp_read(block->until) <= wp_now(p)) return 0;
  wp_add(&block->packets, 1);
  return 1;
}

/* A bucket never holds more than its burst. One that seems to hold a second more was filled before
 * the clock was set back (time stamps of a stage's frames can go back): it is full as of now. */
WP_INLINE __u64 filter_bucket_until(__u64* place, __u64 now, __u64 burst) {
  const __u64 until = wp_read(*place), full = now + burst;
  if (until <= full + FILTER_SET_BACK) return until;
  const __u64 found = wp_cas(place, until, full);
  return found == until ? full : found;
}
WP_INLINE int filter_fits(__u64 until, __u64 now, __u64 takes, __u64 burst) {
  return (until > now ? until - now : 0) + takes <= burst;
}
WP_INLINE void filter_charge(__u64* place, __u64 until, __u64 now, __u64 takes) {
  if (until <= now && wp_cas(place, until, now + takes) == until) return;
  wp_add(place, takes);
}

/* Whether the packet is above its rule's rate; where it is not, it is put into the bucket. */
WP_INLINE int filter_over(struct wp_packet* p, const struct filter_packet* packet,
                          const struct filter_rule* rule) {
  struct filter_bucket* bucket;
  if (rule->flags & FILTER_PER_RULE) {
    const __u32 name = rule->name;
    bucket = wp_lookup(p, rule_buckets, &name);
  } else {
    struct filter_source key = {0, 0xffff00000000ull | (packet->source4 & rule->mask4), 0, 0};
    if (packet->is6) {
      key.high = packet->source6[0] & rule->mask6_high;
      key.low = packet->source6[1] & rule->mask6_low;
    }
    key.name = rule->name;
    bucket = wp_lookup(p, source_buckets, &key);
    if (!bucket) {
      const struct filter_bucket empty = {0, 0};
      wp_update(p, source_buckets, &key, &empty, WP_NOEXIST);
      bucket = wp_lookup(p, source_buckets, &key);
    }
  }
  if (!bucket) { /* no memory, or another CPU threw it out at once */
    wp_count(p, buckets_missed);
    return 0;
  }
  const __u64 now = wp_now(p);
  const __u64 bytes_ns = (packet->length * rule->byte_ns) >> 20;
  const __u64 packets = filter_bucket_until(&bucket->packets_until, now, rule->packet_burst_ns);
  const __u64 bytes = filter_bucket_until(&bucket->bytes_until, now, rule->byte_burst_ns);
  if (rule->packet_burst_ns && !filter_fits(packets, now, rule->packet_ns, rule->packet_burst_ns))
    return 1;
  if (rule->byte_burst_ns && !filter_fits(bytes, now, bytes_ns, rule->byte_burst_ns)) return 1;
  if (rule->packet_burst_ns) filter_charge(&bucket->packets_until, packets, now, rule->packet_ns);
  if (rule->byte_burst_ns) filter_charge(&bucket->bytes_until, bytes, now, bytes_ns);
  return 0;
}

/* What the tables have for a value: the number of a vector, or of a rule (FILTER_DIRECT). */
WP_INLINE __u32 filter_class(struct wp_packet* p, int dimension, __u32 value) {
  const __u32 block = wp_config(p)->base[dimension] + (value >> 8);
  const struct filter_classes* found = wp_lookup(p, classes, &block);
  return found ? found->vector[value & 255] : 0;
}
WP_INLINE __u32 filter_source_class(struct wp_packet* p, const struct filter_packet* packet) {
  if (packet->is6)
    return wp_config(p)->source6_vector + from6_find(p, wp_config(p)->source_length,
                                                     wp_config(p)->source_lengths,
                                                     packet->source6[0], packet->source6[1]);
  return wp_config(p)->source4_vector +
         from4_find(p, wp_config(p)->source_root_bits, packet->source4);
}
WP_INLINE __u32 filter_destination_class(struct wp_packet* p, const struct filter_packet* packet) {
  if (packet->is6)
    return wp_config(p)->destination6_vector +
           to6_find(p, wp_config(p)->destination_length, wp_config(p)->destination_lengths,
                    packet->destination6[0], packet->destination6[1]);
  return wp_config(p)->destination4_vector +
         to4_find(p, wp_config(p)->destination_root_bits, packet->destination4);
}

WP_INLINE __u32 filter_shape(const struct filter_packet* packet) {
  const int land = packet->is6 ? packet->source6[0] == packet->destination6[0] &&
                                     packet->source6[1] == packet->destination6[1]
                               : packet->source4 == packet->destination4;
  const int same_port =
      packet->source_port != FILTER_NO_PORT && packet->source_port == packet->destination_port;
  return (packet->is6 ? FILTER_SHAPE_IP6 : 0) | FILTER_SHAPE_FRAGMENT(packet->fragment) |
         (packet->options ? FILTER_SHAPE_OPTIONS : 0) | (land ? FILTER_SHAPE_LAND : 0) |
         (same_port ? FILTER_SHAPE_SAME_PORT : 0);
}

/* Each dimension with where its class comes from. */
#define FILTER_EACH(DO)                                                               \
  DO(0, FILTER_SHAPE, filter_class(p, FILTER_SHAPE, filter_shape(packet)))            \
  DO(1, FILTER_PROTOCOL, filter_class(p, FILTER_PROTOCOL, packet->protocol))          \
  DO(2, FILTER_SOURCE_PORT, filter_class(p, FILTER_SOURCE_PORT, packet->source_port)) \
  DO(3, FILTER_DESTINATION_PORT,                                                      \
     filter_class(p, FILTER_DESTINATION_PORT, packet->destination_port))              \
  DO(4, FILTER_FLAGS, filter_class(p, FILTER_FLAGS, packet->flags))                   \
  DO(5, FILTER_ICMP, filter_class(p, FILTER_ICMP, packet->icmp))                      \
  DO(6, FILTER_TTL, filter_class(p, FILTER_TTL, packet->ttl))                         \
  DO(7, FILTER_LENGTH, filter_class(p, FILTER_LENGTH, packet->length))                \
  DO(8, FILTER_VLAN, filter_class(p, FILTER_VLAN, packet->vlan))                      \
  DO(9, FILTER_SOURCE, filter_source_class(p, packet))                                \
  DO(10, FILTER_DESTINATION, filter_destination_class(p, packet))

#define FILTER_ONLY(number, dimension, class) \
  if (only == dimension) {                    \
    const __u32 rule = class;                 \
    return rule ? rule - 1 : FILTER_RULES;    \
  }
#define FILTER_LOOK(number, dimension, class)  \
  const struct filter_vector* v##number = 0;   \
  if (features & FILTER_HAS(dimension)) {      \
    const __u32 found = class;                 \
    v##number = wp_lookup(p, vectors, &found); \
    if (!v##number) return FILTER_RULES;       \
  }
#define FILTER_AND(number, dimension, class) \
  if (features & FILTER_HAS(dimension)) left &= v##number->word[at];
#define FILTER_WORD(n)                                 \
  if (n < words) {                                     \
    const __u32 at = n;                                \
    __u64 left = ~0ull;                                \
    FILTER_EACH(FILTER_AND)                            \
    if (left) return at * 64 + filter_first_bit(left); \
  }

/* Of a word that is not 0. clang up to 14 cannot compile __builtin_ctzll for eBPF. */
WP_INLINE __u32 filter_first_bit(__u64 word) {
#ifdef __bpf__
  __u32 at = 0;
  if (!(word & 0xffffffff)) at += 32, word >>= 32;
  if (!(word & 0xffff)) at += 16, word >>= 16;
  if (!(word & 0xff)) at += 8, word >>= 8;
  if (!(word & 0xf)) at += 4, word >>= 4;
  if (!(word & 3)) at += 2, word >>= 2;
  return at + !(word & 1);
#else
  return (__u32)__builtin_ctzll(word);
#endif
}

/* The first rule that fits, or FILTER_RULES. */
WP_INLINE __u32 filter_match(struct wp_packet* p, __u32 features,
                             const struct filter_packet* packet) {
  if (!(features & (packet->is6 ? FILTER_IP6 : FILTER_IP4))) return FILTER_RULES;
  if (features & FILTER_DIRECT) {
    const __u32 only = wp_config(p)->only;
    FILTER_EACH(FILTER_ONLY)
    return FILTER_RULES;
  }
  FILTER_EACH(FILTER_LOOK)
  const __u32 words = wp_config(p)->words;
  FILTER_WORD(0)
  FILTER_WORD(1)
  FILTER_WORD(2)
  FILTER_WORD(3)
  FILTER_WORD(4)
  FILTER_WORD(5)
  FILTER_WORD(6)
  FILTER_WORD(7)
  return FILTER_RULES;
}

WP_INLINE void filter_ends_of(const struct filter_packet* packet, struct filter_ends* ends) {
  ends->source[0] = packet->is6 ? packet->source6[0] : 0;
  ends->source[1] = packet->is6 ? packet->source6[1] : packet->source4;
  ends->destination[0] = packet->is6 ? packet->destination6[0] : 0;
  ends->destination[1] = packet->is6 ? packet->destination6[1] : packet->destination4;
  ends->ports = packet->source_port << 16 | packet->destination_port;
  ends->is6 = packet->is6;
}

/* A client may send data right behind its cookie, and all of that is judged before the host has
 * taken the first of it and made the connection: for a moment all from there passes. */
WP_INLINE int filter_proven(struct wp_packet* p, const struct filter_packet* packet, int whose) {
  struct filter_ends ends;
  filter_ends_of(packet, &ends);
  if (whose == FILTER_COOKIE_RIGHT) {
    const __u64 until = wp_now(p) + FILTER_PROVEN;
    wp_update(p, proven, &ends, &until, WP_ANY);
    return whose;
  }
  __u64* until = wp_lookup(p, proven, &ends);
  return until && wp_now(p) < wp_read(*until) ? FILTER_COOKIE_NONE : whose;
}

/* A segment for a listener that is protected: answered, let through, or dropped. A dry run asks
 * and counts what it would drop, and answers nothing. */
WP_INLINE int filter_listener(struct wp_packet* p, __u32 features,
                              const struct filter_packet* packet, const struct filter_rule* rule) {
  struct filter_cookie_reply reply = {};
  int whose = filter_cookie_ask(p, packet, &reply);
  if (whose == FILTER_COOKIE_RIGHT || whose == FILTER_COOKIE_WRONG)
    whose = filter_proven(p, packet, whose);
  const int wrong = whose == FILTER_COOKIE_WRONG;
  filter_account(p, features, rule->name, wrong, wrong);
  if ((features & FILTER_SAMPLES) && rule->sample && filter_chosen(p, rule->sample))
    filter_sample(p, rule->name, (__u32)wrong);
  if (wrong) return FILTER_DROP_FOR(p, cookie);
  if (whose == FILTER_COOKIE_RIGHT) wp_count(p, cookies_right);
  if (whose == FILTER_COOKIE_DECLINED) wp_count(p, cookies_declined);
  if (whose != FILTER_COOKIE_ANSWER || (features & FILTER_DRY_RUN)) return WP_NEXT;
  if (filter_cookie_write(p, packet, &reply)) return wp_drop(p, cookie_room);
  wp_count(p, cookies_sent);
  return WP_TX;
}

WP_INLINE int filter_judge(struct wp_packet* p, __u32 features,
                           const struct filter_packet* packet) {
  if ((features & FILTER_BLOCKS) && filter_is_blocked(p, packet)) {
    filter_account(p, features, wp_config(p)->names + 2, 1, 0);
    return FILTER_DROP_FOR(p, blocked);
  }
  const __u32 number = filter_match(p, features, packet);
  const struct filter_rule* rule = number < FILTER_RULES ? wp_lookup(p, rules, &number) : 0;
  if (!rule) {
    const int drop = (features & FILTER_DEFAULT_DROP) != 0;
    filter_account(p, features, wp_config(p)->names, drop, 0);
    return drop ? FILTER_DROP_FOR(p, unmatched) : WP_NEXT;
  }
  if ((features & FILTER_COOKIES) && rule->action == FILTER_COOKIE)
    return filter_listener(p, features, packet, rule);
  const int over =
      (features & FILTER_LIMITS) && rule->action == FILTER_LIMIT && filter_over(p, packet, rule);
  const int drop = over || rule->action == FILTER_DROP;
  filter_account(p, features, rule->name, drop, over);
  if ((features & FILTER_SAMPLES) && rule->sample && filter_chosen(p, rule->sample))
    filter_sample(p, rule->name, (__u32)drop);
  if (over) return FILTER_DROP_FOR(p, limit);
  if (!drop) return WP_NEXT;
  if (rule->flags & FILTER_BY_SIGNATURE) return FILTER_DROP_FOR(p, signature);
  return FILTER_DROP_FOR(p, rule);
}

WP_PROGRAM(filter) {
  struct filter_packet packet;
  const __u32 features = wp_config(p)->features;
  if (features & FILTER_NEVER) { /* ties the description to the program */
    const __u32 zero = 0;
    if (wp_lookup(p, described, &zero)) return WP_ABORTED;
  }
  const int parsed = filter_parse(p, &packet, features);
  if (parsed == FILTER_NOT_IP) {
    wp_count(p, not_ip);
    return WP_NEXT;
  }
  if (parsed != FILTER_IS_IP) {
    if (parsed == FILTER_DEEP) wp_count(p, too_many_tags);
    const int drop = (features & FILTER_MALFORMED_DROP) != 0;
    filter_account(p, features, wp_config(p)->names + 1, drop, 0);
    return drop ? FILTER_DROP_FOR(p, malformed) : WP_NEXT;
  }
  /* The compiler leaves out of the second what it need not look for. */
  if (features & FILTER_MORE) return filter_judge(p, features, &packet);
  return filter_judge(p, features & ~FILTER_MORE, &packet);
}
