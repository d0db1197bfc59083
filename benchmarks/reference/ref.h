/* SPDX-License-Identifier: Apache-2.0
 *
 * What every yardstick needs and none of them measures: options, a bounded run
 * time, cpu pinning, pacing. Nothing in here is on a measured path except
 * ref_stop (one load) and the pacer (only with --rate).
 */
#pragma once

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>

#define REF_COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* The signal (SIGINT, SIGTERM, or SIGALRM at the run-time bound) that ends the run; 0: go on. */
static volatile sig_atomic_t ref_stop;

enum ref_kind { REF_FLAG, REF_U64, REF_F64, REF_STR };

struct ref_opt {
  const char* name; /* without the dashes */
  enum ref_kind kind;
  void* dest; /* bool*, uint64_t*, double* or const char** */
  double min, max;
  const char* help;
};

static const char* ref_program = "reference";

static inline void __attribute__((noreturn, format(printf, 2, 3)))
ref_die(int code, const char* format, ...) {
  va_list args;
  va_start(args, format);
  fprintf(stderr, "%s: ", ref_program);
  vfprintf(stderr, format, args);
  fputc('\n', stderr);
  va_end(args);
  exit(code);
}

static inline void ref_help(const char* what, const struct ref_opt* opts, size_t count) {
  printf("%s\n\noptions:\n", what);
  for (size_t i = 0; i < count; i++) {
    char value[64] = "";
    if (opts[i].kind == REF_U64 && *(uint64_t*)opts[i].dest != UINT64_MAX) {
      snprintf(value, sizeof value, "%" PRIu64, *(uint64_t*)opts[i].dest);
    }
    if (opts[i].kind == REF_F64) snprintf(value, sizeof value, "%g", *(double*)opts[i].dest);
    if (opts[i].kind == REF_STR && *(const char**)opts[i].dest) {
      snprintf(value, sizeof value, "%s", *(const char**)opts[i].dest);
    }
    printf("  --%-14s %s%s%s%s\n", opts[i].name, opts[i].help, value[0] ? " [" : "", value,
           value[0] ? "]" : "");
  }
  printf("  --%-14s %s\n", "help", "this text");
}

static inline void ref_set(const struct ref_opt* opt, const char* text) {
  char* end = NULL;
  errno = 0;
  if (opt->kind == REF_STR) {
    if (!*text) ref_die(2, "--%s must not be empty", opt->name);
    *(const char**)opt->dest = text;
    return;
  }
  double value = 0;
  if (opt->kind == REF_U64) {
    unsigned long long whole = strtoull(text, &end, 0);
    if (*text == '-') end = (char*)text;
    *(uint64_t*)opt->dest = whole;
    value = (double)whole;
  } else {
    value = *(double*)opt->dest = strtod(text, &end);
  }
  if (end == text || *end || errno || !(value >= opt->min && value <= opt->max)) {
    ref_die(2, "--%s '%s': must be %s from %.15g to %.15g", opt->name, text,
            opt->kind == REF_U64 ? "a whole number" : "a number", opt->min, opt->max);
  }
}

/* Accepts `--name value` and `--name=value`; exits 0 on --help, 2 on bad input. */
static inline void ref_parse(int argc, char** argv, const char* what, const struct ref_opt* opts,
                             size_t count) {
  const char* slash = strrchr(argv[0], '/');
  ref_program = slash ? slash + 1 : argv[0];
  for (int i = 1; i < argc; i++) {
    const char* arg = argv[i];
    if (!strcmp(arg, "--help") || !strcmp(arg, "-h")) {
      ref_help(what, opts, count);
      exit(0);
    }
    if (strncmp(arg, "--", 2))
      ref_die(2, "unexpected '%s' (options begin with --; see --help)", arg);
    arg += 2;
    size_t length = strcspn(arg, "=");
    const struct ref_opt* opt = NULL;
    for (size_t k = 0; k < count; k++) {
      if (strlen(opts[k].name) == length && !strncmp(opts[k].name, arg, length)) opt = &opts[k];
    }
    if (!opt) ref_die(2, "unknown option '--%s' (see --help)", arg);
    if (opt->kind == REF_FLAG) {
      if (arg[length]) ref_die(2, "--%s takes no value", opt->name);
      *(bool*)opt->dest = true;
    } else if (arg[length] == '=') {
      ref_set(opt, arg + length + 1);
    } else {
      if (++i >= argc) ref_die(2, "--%s needs a value", opt->name);
      ref_set(opt, argv[i]);
    }
  }
}

static inline uint64_t ref_now(void) {
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* CPU time of the process (user and system), ns. */
static inline uint64_t ref_cpu_now(void) {
  struct timespec ts;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
  return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static uint64_t ref_cpu_start; /* set by the first ref_bound */

/* CPU time since set-up ended: on a shared machine a steadier divisor than elapsed time. */
static inline uint64_t ref_cpu_ns(void) {
  return ref_cpu_now() - ref_cpu_start;
}

static inline double ref_rate(uint64_t count, uint64_t ns) {
  return ns ? (double)count * 1e9 / (double)ns : 0.0;
}

static inline void ref_on_signal(int signo) {
  ref_stop = signo;
}

/* Ends the run after `seconds`, or on SIGINT or SIGTERM, without a clock read
 * in the measured loop. No SA_RESTART: blocking calls return EINTR; the alarm repeats
 * for the call that was entered just after the first one. */
static inline void ref_bound(double seconds) {
  struct sigaction action = {.sa_handler = ref_on_signal};
  sigaction(SIGINT, &action, NULL);
  sigaction(SIGTERM, &action, NULL);
  sigaction(SIGALRM, &action, NULL);
  struct itimerval timer = {.it_interval.tv_usec = 50000};
  timer.it_value.tv_sec = (time_t)seconds;
  timer.it_value.tv_usec = (suseconds_t)((seconds - (double)timer.it_value.tv_sec) * 1e6);
  if (!ref_cpu_start) ref_cpu_start = ref_cpu_now();
  setitimer(ITIMER_REAL, &timer, NULL);
}

/* cpu == UINT64_MAX: leave the thread where the scheduler puts it. */
static inline void ref_pin(uint64_t cpu) {
  if (cpu == UINT64_MAX) return;
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET((size_t)cpu, &set);
  int error = pthread_setaffinity_np(pthread_self(), sizeof set, &set);
  if (error) {
    ref_die(2, "cannot pin to cpu %" PRIu64 ": %s (see `taskset -p $$`)", cpu, strerror(error));
  }
}

static inline void ref_pause(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

/* Absolute deadlines: packet i is due at start + i / rate, whatever came before. */
struct ref_pacer {
  uint64_t start;
  double rate; /* packets per second; 0: no pacing */
};

/* How many of `want` packets to send now; waits until at least one is due. 0 when stopped. */
static inline uint32_t ref_due(const struct ref_pacer* pacer, uint64_t sent, uint32_t want) {
  if (pacer->rate <= 0) return want;
  const uint64_t deadline = pacer->start + (uint64_t)((double)sent * 1e9 / pacer->rate);
  uint64_t now;
  while ((now = ref_now()) < deadline) {
    if (ref_stop) return 0;
    const uint64_t left = deadline - now;
    if (left > 200000) {
      struct timespec nap = {.tv_nsec = left > 10000000 ? 9900000 : (long)(left - 100000)};
      nanosleep(&nap, NULL);
    } else {
      ref_pause();
    }
  }
  const uint64_t due = (uint64_t)((double)(now - pacer->start) * pacer->rate / 1e9) + 1;
  const uint64_t late = due > sent ? due - sent : 1;
  return late < want ? (uint32_t)late : want;
}

/* Says on stderr that the program is bound and armed, for whoever starts the sender. */
static inline void ref_ready(void) {
  fprintf(stderr, "ready\n");
  fflush(stderr);
}
