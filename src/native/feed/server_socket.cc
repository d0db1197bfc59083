// SPDX-License-Identifier: Apache-2.0
#include "feed/server_socket.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/error.h"

namespace wp::feed {
namespace {

std::string text_of(const ServerAddress& address) {
  const bool six = address.host.find(':') != std::string::npos;
  return (six ? "[" + address.host + "]" : address.host) + ":" + std::to_string(address.port);
}

}  // namespace

Descriptor::~Descriptor() {
  if (fd_ >= 0) close(fd_);
}

Descriptor open_server_socket(const char* field, const ServerAddress& address, bool stream) {
  sockaddr_storage storage{};
  socklen_t size;
  auto* const four = reinterpret_cast<sockaddr_in*>(&storage);
  auto* const six = reinterpret_cast<sockaddr_in6*>(&storage);
  if (inet_pton(AF_INET, address.host.c_str(), &four->sin_addr) == 1) {
    four->sin_family = AF_INET;
    four->sin_port = htons(address.port);
    size = sizeof *four;
  } else if (inet_pton(AF_INET6, address.host.c_str(), &six->sin6_addr) == 1) {
    six->sin6_family = AF_INET6;
    six->sin6_port = htons(address.port);
    size = sizeof *six;
  } else {
    throw config_error(field, "\"" + text_of(address) + "\"",
                       "HOST:PORT with an IPv4 or IPv6 address of this host");
  }
  const int type = (stream ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC | SOCK_NONBLOCK;
  Descriptor fd(socket(storage.ss_family, type, 0));
  const int on = 1;
  if (stream && fd.get() >= 0) setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (fd.get() < 0 || bind(fd.get(), reinterpret_cast<sockaddr*>(&storage), size) != 0 ||
      (stream && listen(fd.get(), 64) != 0))
    throw Error(ErrorKind::kIo,
                std::string(field) + ": " + text_of(address) +
                    " cannot be listened to: " + std::strerror(errno),
                "choose an address of this host (ip address) and a free port (ss -lntu)");
  return fd;
}

uint16_t bound_port(const Descriptor& socket) {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  getsockname(socket.get(), reinterpret_cast<sockaddr*>(&storage), &size);
  // The port stands at the same place in both families.
  return ntohs(reinterpret_cast<sockaddr_in*>(&storage)->sin_port);
}

ServerThread::ServerThread() : event_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (event_.get() < 0)
    throw Error(ErrorKind::kIo, std::string("no eventfd: ") + std::strerror(errno),
                "raise the limit of open files: ulimit -n");
}

void ServerThread::stop() noexcept {
  if (!thread_.joinable()) return;
  const uint64_t one = 1;
  while (write(event_.get(), &one, sizeof one) < 0 && errno == EINTR) {
  }
  thread_.join();
}

int64_t server_clock() noexcept {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1'000'000'000LL + t.tv_nsec;
}

}  // namespace wp::feed
