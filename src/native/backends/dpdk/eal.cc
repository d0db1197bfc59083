// SPDX-License-Identifier: Apache-2.0
#include "backends/dpdk/eal.h"

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_lcore.h>
#include <rte_malloc.h>
#include <rte_memory.h>
#include <rte_version.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <mutex>

#include "backends/dpdk/eal_log.h"
#include "backends/dpdk/errors.h"
#include "backends/dpdk/memif.h"

namespace wp::dpdk {
namespace {

constexpr uint32_t kDefaultMemoryMb = 512;  // without hugepages; touched as it is used
constexpr uint32_t kLeastHugeMb = 64;       // below this, auto does without

struct State {
  std::mutex mutex;
  bool running = false;
  bool broken = false;  // EAL cannot be started twice, not even after a failure
  std::string why_broken;
  bool huge = false;
  EalSettings settings;  // as they came out: what was left open has a value here
};

State& state() {
  static State* const one = new State;
  return *one;
}

uint64_t free_huge_mb() {
  uint64_t kilobytes = 0;
  std::error_code none;
  for (const auto& folder : std::filesystem::directory_iterator("/sys/kernel/mm/hugepages", none)) {
    const std::string name = folder.path().filename();  // hugepages-2048kB
    uint64_t size = 0, pages = 0;
    const size_t digits = name.find_first_of("0123456789");
    if (digits == std::string::npos) continue;
    std::from_chars(name.data() + digits, name.data() + name.size(), size);
    std::ifstream(folder.path() / "free_hugepages") >> pages;
    kilobytes += size * pages;
  }
  return kilobytes >> 10;
}

std::vector<int> allowed_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  sched_getaffinity(0, sizeof set, &set);
  std::vector<int> out;
  for (int c = 0; c < CPU_SETSIZE; c++)
    if (CPU_ISSET(c, &set)) out.push_back(c);
  return out;
}

// For the time of rte_eal_init: the thread's affinity is put back, threads that EAL starts run
// on the cores it was given and take no signals, and what it prints is caught.
class Surroundings {
 public:
  explicit Surroundings(const std::vector<int>& cores) {
    CPU_ZERO(&before_);
    sched_getaffinity(0, sizeof before_, &before_);
    cpu_set_t narrow;
    CPU_ZERO(&narrow);
    for (const int c : cores) CPU_SET(c, &narrow);
    sched_setaffinity(0, sizeof narrow, &narrow);
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &signals_);
  }
  ~Surroundings() {
    pthread_sigmask(SIG_SETMASK, &signals_, nullptr);
    sched_setaffinity(0, sizeof before_, &before_);
  }
  Surroundings(const Surroundings&) = delete;
  Surroundings& operator=(const Surroundings&) = delete;

 private:
  CaughtStderr caught_;
  cpu_set_t before_;
  sigset_t signals_;
};

std::string list_of(const std::vector<int>& cores) {
  std::string out;
  for (const int c : cores) out += (out.empty() ? "" : ",") + std::to_string(c);
  return out;
}

std::vector<int> sorted(std::vector<int> cores) {
  std::ranges::sort(cores);
  return cores;
}

// What is asked of EAL, in MiB; 0 = as needed.
uint32_t memory_asked(const EalSettings& settings, bool huge) {
  return settings.memory_mb ? settings.memory_mb : huge ? 0 : kDefaultMemoryMb;
}

std::vector<std::string> arguments(const EalSettings& settings, const std::vector<int>& cores,
                                   bool huge, bool physical) {
  std::vector<std::string> out{
      "wirepath", "--no-telemetry",
      // One lcore that floats over the cores: the data path runs in threads of ours.
      "--lcores=0@(" + list_of(cores) + ")",
      // An allow list that names no device of this machine: nothing is taken but what a port asks.
      "--allow=ffff:ff:1f.7",
      // Its run directory, should it make one, is this process's own.
      "--file-prefix=wirepath" + std::to_string(getpid())};
  if (huge)
    out.push_back("--in-memory");
  else  // which is not to be had together
    out.insert(out.end(), {"--no-huge", "--no-shconf"});
  if (huge && physical) out.push_back("--iova-mode=pa");
  const uint32_t mb = memory_asked(settings, huge);
  if (mb) out.insert(out.end(), {"-m", std::to_string(mb)});
  return out;
}

int init(const EalSettings& settings, const std::vector<int>& cores, bool huge, bool physical) {
  std::vector<std::string> words = arguments(settings, cores, huge, physical);
  std::vector<char*> argv;
  for (std::string& w : words) argv.push_back(w.data());
  argv.push_back(nullptr);
  const Surroundings surroundings(cores);
  return rte_eal_init(static_cast<int>(words.size()), argv.data()) < 0 ? rte_errno : 0;
}

const char* text(HugePages h) {
  return h == HugePages::kYes ? "yes" : h == HugePages::kNo ? "no" : "auto";
}

// A later port may name what is the case already, or leave it open.
void check_same(const State& s, const EalSettings& wanted) {
  const auto fail = [](const std::string& field, const std::string& value,
                       const std::string& have) {
    throw Error(
        ErrorKind::kConfig,
        field + " = " + value + " comes too late: DPDK runs in this process already, with " + have,
        "give it to the first dpdk port, or use another process");
  };
  if (wanted.memory_mb && wanted.memory_mb != s.settings.memory_mb)
    fail(
        "eal_memory", std::to_string(wanted.memory_mb),
        s.settings.memory_mb ? std::to_string(s.settings.memory_mb) + " MiB" : "as much as needed");
  if (!wanted.cores.empty() && sorted(wanted.cores) != sorted(s.settings.cores))
    fail("eal_cores", list_of(wanted.cores), list_of(s.settings.cores));
  if (wanted.huge_pages != HugePages::kAuto && (wanted.huge_pages == HugePages::kYes) != s.huge)
    fail("hugepages", text(wanted.huge_pages), s.huge ? "hugepages" : "no hugepages");
}

}  // namespace

void Eal::start(const EalSettings& wanted, bool physical) {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  if (s.running) return check_same(s, wanted);
  if (s.broken)
    throw Error(ErrorKind::kIo, "DPDK did not start in this process: " + s.why_broken,
                "mend that, then start a new process: DPDK starts once only");
  const std::vector<int> allowed = allowed_cores();
  for (const int c : wanted.cores)
    if (std::ranges::find(allowed, c) == allowed.end())
      throw config_error("eal_cores", std::to_string(c),
                         "of the cores this process may use: " + list_of(allowed));
  const uint64_t free_mb = free_huge_mb();
  const uint64_t need_mb = wanted.memory_mb ? wanted.memory_mb : kLeastHugeMb;
  if (wanted.huge_pages == HugePages::kYes && free_mb < need_mb)
    throw Error(ErrorKind::kUnavailable,
                "hugepages = yes, but " + std::to_string(free_mb) +
                    " MiB of hugepages are free and " + std::to_string(need_mb) + " are needed",
                "sysctl -w vm.nr_hugepages=" + std::to_string((need_mb + 1) / 2) +
                    " (of 2 MiB, above those in use), or hugepages=auto to do without");
  bool huge = wanted.huge_pages != HugePages::kNo && free_mb >= need_mb;
  EalLog::capture();
  const std::vector<int> cores = wanted.cores.empty() ? allowed : wanted.cores;
  uint64_t mark = EalLog::mark();
  int error = init(wanted, cores, huge, physical);
  if (error == EACCES && huge && wanted.huge_pages == HugePages::kAuto) {
    huge = false;  // this one refusal leaves EAL as it was
    mark = EalLog::mark();
    error = init(wanted, cores, huge, physical);
  }
  if (error) {
    const Error why = refusal("DPDK does not start", error, EalLog::since(mark), "");
    s.broken = true;
    s.why_broken = why.what();
    throw why;
  }
  rmdir(rte_eal_get_runtime_dir());  // where it made one, it is empty
  s.running = true;
  s.huge = huge;
  s.settings = {.cores = cores,
                .memory_mb = memory_asked(wanted, huge),
                .huge_pages = huge ? HugePages::kYes : HugePages::kNo};
  watch_memif();
}

bool Eal::huge_pages() noexcept {
  return state().huge;
}

std::string Eal::memory() {
  uint64_t total = 0, available = 0;
  for (unsigned i = 0; i < rte_socket_count(); i++) {
    rte_malloc_socket_stats stats{};
    if (rte_malloc_get_socket_stats(rte_socket_id_by_idx(i), &stats)) continue;
    total += stats.heap_totalsz_bytes;
    available += stats.heap_freesz_bytes;
  }
  return std::string(huge_pages() ? "hugepages" : "no hugepages (--no-huge)") + ", " +
         std::to_string(available >> 20) + " of " + std::to_string(total >> 20) + " MiB free";
}

std::vector<int64_t> Eal::cores() {
  const rte_cpuset_t set = rte_lcore_cpuset(rte_get_main_lcore());
  std::vector<int64_t> out;
  for (int c = 0; c < CPU_SETSIZE; c++)
    if (CPU_ISSET(c, &set)) out.push_back(c);
  return out;
}

std::string Eal::version() {
  return rte_version();
}

bool register_thread() noexcept {
  struct Registration {
    bool mine = rte_lcore_id() == LCORE_ID_ANY && rte_thread_register() == 0;
    ~Registration() {
      if (mine) rte_thread_unregister();
    }
  };
  thread_local const Registration registration;
  return registration.mine || rte_lcore_id() != LCORE_ID_ANY;
}

}  // namespace wp::dpdk
