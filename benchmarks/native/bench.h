// SPDX-License-Identifier: Apache-2.0
// What the native benchmark programs share: `--name value` options, pinning, a clock.
#pragma once

#include <pthread.h>
#include <sched.h>
#include <time.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>

namespace wp::bench {

// `--name value`, every name with its fallback; exits 2 on anything else.
class Arguments {
 public:
  Arguments(int argc, char** argv, std::map<std::string, std::string> fallbacks)
      : values_(std::move(fallbacks)) {
    for (int i = 1; i < argc; i += 2) {
      const std::string name = argv[i];
      const auto found = values_.find(name.starts_with("--") ? name.substr(2) : "");
      if (found == values_.end() || i + 1 == argc) {
        std::fprintf(stderr, "%s: unexpected '%s'; the options, each with a value:", argv[0],
                     argv[i]);
        for (const auto& [known, value] : values_)
          std::fprintf(stderr, " --%s [%s]", known.c_str(), value.c_str());
        std::fprintf(stderr, "\n");
        std::exit(2);
      }
      found->second = argv[i + 1];
    }
  }
  const std::string& text(const std::string& name) const { return values_.at(name); }
  uint64_t number(const std::string& name) const {
    char* end = nullptr;
    const uint64_t value = std::strtoull(text(name).c_str(), &end, 0);
    if (end == text(name).c_str() || *end) {
      std::fprintf(stderr, "--%s '%s': must be a whole number\n", name.c_str(), text(name).c_str());
      std::exit(2);
    }
    return value;
  }

 private:
  std::map<std::string, std::string> values_;
};

inline void pin(uint64_t cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  if (pthread_setaffinity_np(pthread_self(), sizeof set, &set) != 0) {
    std::fprintf(stderr, "cannot pin to cpu %u\n", static_cast<unsigned>(cpu));
    std::exit(2);
  }
}

inline uint64_t now_ns() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<uint64_t>(t.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(t.tv_nsec);
}

}  // namespace wp::bench
