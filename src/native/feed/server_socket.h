// SPDX-License-Identifier: Apache-2.0
// What the servers beside a publisher share: a bound socket, and a thread that is told to stop.
#pragma once

#include <cstdint>
#include <string>
#include <thread>

namespace wp::feed {

struct ServerAddress {
  std::string host = "127.0.0.1";  // IPv4 or IPv6 address
  uint16_t port = 0;               // 0: the kernel's choice
};

// A descriptor that closes itself.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Descriptor();
  int get() const noexcept { return fd_; }

 private:
  int fd_ = -1;
};

// Bound, non-blocking; a stream listens. Throws wp::Error naming `field`.
Descriptor open_server_socket(const char* field, const ServerAddress& address, bool stream);
uint16_t bound_port(const Descriptor& socket);

// Runs a loop on a thread of its own. Poll woken() for reading: readable once stop() was called.
class ServerThread {
 public:
  ServerThread();
  ~ServerThread() { stop(); }
  template <class F>
  void start(F loop) {
    thread_ = std::thread(std::move(loop));
  }
  void stop() noexcept;  // and wait for it
  bool running() const noexcept { return thread_.joinable(); }
  int woken() const noexcept { return event_.get(); }

 private:
  Descriptor event_;
  std::thread thread_;
};

int64_t server_clock() noexcept;  // CLOCK_MONOTONIC, ns

}  // namespace wp::feed
