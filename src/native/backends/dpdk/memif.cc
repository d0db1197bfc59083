// SPDX-License-Identifier: Apache-2.0
#include "backends/dpdk/memif.h"

#include <dirent.h>
#include <fcntl.h>
#include <rte_alarm.h>
#include <rte_interrupts.h>
#include <rte_log.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <semaphore>
#include <string_view>
#include <utility>
#include <vector>

#include "backends/dpdk/eal_log.h"
#include "core/clock.h"

namespace wp::dpdk {
namespace {

// A burst takes microseconds, but a thread may lose its core for longer, and must not find the
// rings gone when it comes back. For ever would be a deadlock if a driver logged from a burst.
constexpr int64_t kPatienceUs = 2'000'000;
constexpr int64_t kReviveNs = 200'000'000;

struct Guards {
  std::mutex mutex;
  std::vector<Gate*> gates;
  std::vector<std::string> servers;  // sockets that ports of ours listen on
  std::atomic<int64_t> closed_at{0};
};

Guards& guards() {
  static Guards* const one = new Guards;  // outlives EAL's threads
  return *one;
}

// The handler logs what it received before it acts on it, and again when it has disconnected:
// the only word that it gives. A driver that says it otherwise is no worse off than without.
void on_line(std::string_view line) {
  if (!rte_thread_is_intr()) return;
  const auto says = [&](std::string_view text) {
    return line.find(text) != std::string_view::npos;
  };
  Guards& g = guards();
  if (says("Invalid message size") || says("Disconnect received") || says("sendmsg fail") ||
      says("Unexpected message")) {
    const std::lock_guard lock(g.mutex);
    g.closed_at.store(Clock::realtime());
    for (Gate* gate : g.gates) gate->close(Gate::kInterrupt, kPatienceUs);
  } else if (says("Disconnected, id")) {
    const std::lock_guard lock(g.mutex);
    for (Gate* gate : g.gates) gate->open(Gate::kInterrupt);
  }
}

bool listens_on(int fd, const std::string& socket) {
  int listening = 0;
  socklen_t n = sizeof listening;
  if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &n) || !listening) return false;
  sockaddr_un address{};
  n = sizeof address;
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&address), &n) || address.sun_family != AF_UNIX)
    return false;
  const char* name = address.sun_path + (address.sun_path[0] == '\0');
  return socket == std::string(name, strnlen(name, sizeof address.sun_path - 1));
}

// EAL still watches the descriptor and aborts when it finds it closed: something that is never
// readable takes its number.
void silence_listener(const std::string& socket) {
  DIR* folder = opendir("/proc/self/fd");
  if (!folder) return;
  std::vector<int> found;
  while (const dirent* entry = readdir(folder)) {
    const int fd = std::atoi(entry->d_name);
    if (fd > 2 && listens_on(fd, socket)) found.push_back(fd);
  }
  closedir(folder);
  for (const int fd : found) {
    const int mute = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (mute < 0) continue;
    dup3(mute, fd, O_CLOEXEC);
    close(mute);
  }
}

}  // namespace

void remove_stale_socket(const std::string& path) noexcept {
  sockaddr_un address{};
  struct stat found {};
  if (path.size() >= sizeof address.sun_path || lstat(path.c_str(), &found) ||
      !S_ISSOCK(found.st_mode))
    return;
  address.sun_family = AF_UNIX;
  std::copy(path.begin(), path.end(), address.sun_path);
  // A server that lives refuses this kind of socket with EPROTOTYPE, and does not learn of it: a
  // connection that came and went at once may cost a DPDK process its life.
  const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return;
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) &&
      errno == ECONNREFUSED)
    unlink(path.c_str());
  close(fd);
}

void watch_memif() {
  rte_log_set_level_pattern("pmd.net.memif", RTE_LOG_DEBUG);
  EalLog::observe(&on_line);
}

void in_interrupt_thread(const std::function<void()>& task) {
  struct Call {
    const std::function<void()>& task;
    std::binary_semaphore done{0};
  } call{task};
  const auto run = [](void* argument) {
    auto* c = static_cast<Call*>(argument);
    c->task();
    c->done.release();
  };
  if (rte_eal_alarm_set(1, run, &call) == 0)
    call.done.acquire();
  else
    task();
}

MemifGuard::MemifGuard(Gate& gate, std::string socket, bool server)
    : gate_(gate), socket_(std::move(socket)), server_(server) {
  Guards& g = guards();
  const std::lock_guard lock(g.mutex);
  g.gates.push_back(&gate_);
  if (server_) g.servers.push_back(socket_);
}

MemifGuard::~MemifGuard() {
  removed();  // where the device never came to be
  Guards& g = guards();
  const std::lock_guard lock(g.mutex);
  std::erase(g.gates, &gate_);
}

void MemifGuard::removed() {
  if (!std::exchange(server_, false)) return;
  Guards& g = guards();
  const std::lock_guard lock(g.mutex);
  g.servers.erase(std::ranges::find(g.servers, socket_));
  if (std::ranges::find(g.servers, socket_) == g.servers.end()) silence_listener(socket_);
}

// In the handler's own thread, so that it is not in the middle of taking rings away.
void MemifGuard::revive() {
  if (gate_.closed(Gate::kInterrupt) && Clock::realtime() - guards().closed_at.load() > kReviveNs)
    in_interrupt_thread([this] { gate_.open(Gate::kInterrupt); });
}

}  // namespace wp::dpdk
