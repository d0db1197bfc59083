// SPDX-License-Identifier: Apache-2.0
#include "feed/soup_server.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <strings.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/error.h"

namespace wp::feed {
namespace {

constexpr std::array<const char*, kSoupCounters> kNames{
    "connections", "full",  "logins",     "rejected.user",  "rejected.session",
    "messages",    "bytes", "heartbeats", "end_of_session", "snapshots",
    "silent",      "slow",  "closed",     "waited",         "no_descriptor"};
constexpr size_t kFill = 128 << 10;  // bytes for a client made at a time

bool same_text(std::string_view a, std::string_view b) {
  return a.size() == b.size() && strncasecmp(a.data(), b.data(), a.size()) == 0;
}

std::string_view name_of(const MoldSession& session) {
  return soup_trimmed({session.data(), session.size()});
}

}  // namespace

// What a client's bytes say, carried out.
struct SoupServer::Events {
  SoupServer& server;
  Client& client;

  void login(const SoupLogin& request) { server.login(client, request); }
  void logout() { client.last = true; }
  void unsequenced(const uint8_t*, size_t, int64_t) {}  // nothing here takes orders
  void debug(const uint8_t*, size_t) {}
  void connection_lost(SoupLoss) {
    server.counters_[kSoupSilent].add(1);
    client.leaving = true;
  }
};

void SoupServerOptions::validate() const {
  SoupOptions o;
  o.username = username;
  o.password = password;
  o.heartbeat_ns = heartbeat_ns;
  o.timeout_ns = timeout_ns;
  o.validate();
  if (max_clients < 1 || max_clients > 1'000)
    throw config_error("max_clients", std::to_string(max_clients), "1 to 1000");
}

SoupServer::SoupServer(const SoupServerOptions& options, std::shared_ptr<MessageLog> log,
                       const StreamNumbers& numbers)
    : options_((options.validate(), options)),
      log_(std::move(log)),
      numbers_(numbers),
      telemetry_(Telemetry::process()),
      counters_(telemetry_.counters(
          "publisher/" + options.name + (options.glimpse ? "/glimpse" : "/soup"), kNames)),
      message_(MessageLog::kMaxMessage + 7) {
  const char* const field = options.glimpse ? "glimpse" : "soup";
  try {
    if (!log_) throw config_error(field, "given", "left out: this source keeps no messages");
    socket_ = open_server_socket(field, options.address, true);
  } catch (...) {
    telemetry_.release(counters_);
    throw;
  }
  // Not one message may be missed by the books: the publisher waits for them.
  if (options.glimpse) log_->follow(0);
}

SoupServer::~SoupServer() {
  stop();
  telemetry_.release(counters_);
}

void SoupServer::start() {
  thread_.start([this] { run(); });
}

// Whoever is connected, or tries to, learns that nobody is here any more.
void SoupServer::stop() noexcept {
  thread_.stop();
  socket_ = Descriptor();
  clients_.clear();
  connected_.store(0, std::memory_order_relaxed);
  if (options_.glimpse) log_->follow(MessageLog::kNobody);
}

void SoupServer::run() noexcept {
  std::vector<pollfd> polled;
  std::vector<uint8_t> in(64 << 10);
  for (;;) {
    polled.clear();
    const bool accepts = server_clock() >= accept_at_;
    polled.push_back({accepts ? socket_.get() : -1, POLLIN, 0});
    polled.push_back({thread_.woken(), POLLIN, 0});
    for (const auto& client : clients_) {
      const int wanted =
          (client->says_no_more ? 0 : POLLIN) | (client->pending() != 0 ? POLLOUT : 0);
      polled.push_back({client->fd.get(), static_cast<short>(wanted), 0});
    }
    // Messages come without a signal, as the publisher makes no system call for them.
    const timespec wait{0, clients_.empty() ? 5'000'000 : 1'000'000};
    ppoll(polled.data(), polled.size(), &wait, nullptr);
    if (polled[1].revents != 0) return;
    const int64_t now = server_clock();
    if (options_.glimpse) follow();
    for (size_t i = 0; i < clients_.size(); i++) {
      Client& client = *clients_[i];
      receive(client, polled[2 + i].revents, in, now);
      if (!client.leaving) fill(client);
    }
    if (options_.glimpse) give_snapshots();
    for (const auto& client : clients_) {
      if (!client->leaving) client->leaving = !flush(*client, now);
      if (client->leaving || !client->says_no_more || owes(*client)) continue;
      counters_[kSoupClosed].add(1);
      client->leaving = true;
    }
    std::erase_if(clients_, [](const auto& client) { return client->leaving; });
    if (polled[0].revents != 0) accept_clients(now);
    connected_.store(static_cast<uint32_t>(clients_.size()), std::memory_order_relaxed);
  }
}

void SoupServer::receive(Client& client, int revents, std::vector<uint8_t>& in, int64_t now) {
  Events events{*this, client};
  const auto closed = [&] {
    counters_[kSoupClosed].add(1);
    client.leaving = true;
  };
  if (client.says_no_more) {  // nor is it silent: it cannot say that it is there
    if (revents & (POLLHUP | POLLERR)) closed();
    return;
  }
  if (revents & (POLLIN | POLLHUP | POLLERR)) {
    const ssize_t n = recv(client.fd.get(), in.data(), in.size(), 0);
    if (n > 0) {
      client.session.on_bytes(in.data(), static_cast<size_t>(n), now, events);
    } else if (n == 0) {
      client.says_no_more = true;
      return;
    } else if (errno != EAGAIN && errno != EINTR) {
      return closed();
    }
  }
  client.session.on_time(now, events);
}

// What it asked for is not all with it yet.
bool SoupServer::owes(const Client& client) const {
  if (client.pending() != 0 || client.snapshot_from != 0) return true;
  return client.session.state() == SoupState::kOpen && !options_.glimpse &&
         client.next < std::min(log_->published(), client.until);
}

// The books follow what is published.
void SoupServer::follow() {
  const uint64_t published = log_->published();
  size_t length;
  for (; applied_ < published; applied_++) {
    if (log_->read(applied_, message_.data(), length) != MessageLog::Read::kThere) return;
    state_.apply({message_.data(), length});
    if (applied_ % 1'024 == 0) log_->follow(applied_);
  }
  log_->follow(applied_);
}

void SoupServer::accept_clients(int64_t now) {
  for (;;) {
    Descriptor fd(accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (fd.get() < 0) {
      // It stays in the backlog, and poll would tell of it again at once.
      if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
        counters_[kSoupNoDescriptor].add(1);
        accept_at_ = now + kAcceptAgain;
      }
      return;
    }
    counters_[kSoupConnections].add(1);
    if (clients_.size() == options_.max_clients) {
      counters_[kSoupFull].add(1);
      continue;
    }
    const int on = 1;
    setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    clients_.push_back(
        std::make_unique<Client>(std::move(fd), options_.heartbeat_ns, options_.timeout_ns));
    clients_.back()->session.connected(now);
    clients_.back()->progressed = now;
  }
}

// The part of the stream that a client logs in to; null: there is no such session.
const StreamNumbers::Part* SoupServer::part_for(std::string_view session,
                                                uint64_t published) const {
  const auto& parts = numbers_.parts();
  for (size_t i = parts.size(); i-- != 0;) {
    if (i != 0 && parts[i].at >= published) continue;  // not begun
    if (session.empty() || same_text(session, name_of(parts[i].session))) return &parts[i];
  }
  return nullptr;
}

void SoupServer::login(Client& client, const SoupLogin& request) {
  uint8_t out[kSoupAcceptedSize];
  const auto reject = [&](char reason, SoupServerCounter why) {
    counters_[why].add(1);
    client.session.reject();
    client.out.insert(client.out.end(), out, out + soup_encode_rejected(out, reason));
    client.last = true;
  };
  if ((!options_.username.empty() && !same_text(request.username, options_.username)) ||
      (!options_.password.empty() && request.password != options_.password))
    return reject('A', kSoupRejectedUser);
  const uint64_t published = options_.glimpse ? applied_ : log_->published();
  const StreamNumbers::Part* const part = part_for(request.session, published);
  if (!part || (options_.glimpse && part != part_for("", published)))
    return reject('S', kSoupRejectedSession);
  counters_[kSoupLogins].add(1);
  client.session.accept();
  const std::string_view name = name_of(part->session);
  if (options_.glimpse) {
    client.out.insert(client.out.end(), out, out + soup_encode_accepted(out, name, 1));
    client.snapshot_from = std::max<uint64_t>(request.sequence, 1);
    return;
  }
  client.until = numbers_.end_of_part(part->at);
  const uint64_t end = std::min(published, client.until);
  const uint64_t wanted = request.sequence < part->sequence ? 0 : request.sequence - part->sequence;
  // 0: only what is new. What is gone or yet to come is answered by the nearest that is not.
  client.next = request.sequence == 0 ? end : part->at + std::min(wanted, end - part->at);
  client.next = std::max(client.next, std::min(log_->begin(), end));
  const uint64_t number = part->sequence + (client.next - part->at);
  client.out.insert(client.out.end(), out, out + soup_encode_accepted(out, name, number));
}

void SoupServer::put(Client& client, SoupType type, const uint8_t* data, size_t n) {
  uint8_t header[kSoupHeaderSize];
  soup_encode_header(header, type, n);
  client.out.insert(client.out.end(), header, header + kSoupHeaderSize);
  if (n != 0) client.out.insert(client.out.end(), data, data + n);
  if (type == SoupType::kSequenced) counters_[kSoupMessages].add(1);
}

// Messages that are published and that this client has not got.
void SoupServer::fill(Client& client) {
  if (client.session.state() != SoupState::kOpen || options_.glimpse) return;
  const bool finished = log_->finished();
  const uint64_t published = log_->published();
  const uint64_t end = std::min(published, client.until);
  if (client.sent >= kFill) {
    client.out.erase(client.out.begin(), client.out.begin() + static_cast<ptrdiff_t>(client.sent));
    client.sent = 0;
  }
  while (client.next < end && client.pending() < kFill) {
    size_t length;
    if (log_->read(client.next, message_.data(), length) != MessageLog::Read::kThere) {
      counters_[kSoupSlow].add(1);
      client.leaving = true;
      return;
    }
    put(client, SoupType::kSequenced, message_.data(), length);
    client.next++;
  }
  // The session is over where another has begun, or nothing more comes.
  if (client.next == end && (finished || published > client.until)) {
    put(client, SoupType::kEndOfSession, nullptr, 0);
    counters_[kSoupEnds].add(1);
    client.session.end();
    client.last = true;
  }
}

// False: the connection is of no more use.
bool SoupServer::flush(Client& client, int64_t now) {
  if (client.pending() == 0 && client.session.heartbeat_due(now)) {
    put(client, SoupType::kServerHeartbeat, nullptr, 0);
    counters_[kSoupHeartbeats].add(1);
  }
  while (client.pending() != 0) {
    const std::span<const uint8_t> bytes = client.next_bytes();
    const ssize_t n = send(client.fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) {
      if (now - client.progressed <= options_.timeout_ns) return true;
      counters_[kSoupSlow].add(1);
      return false;
    }
    if (n < 0) {
      counters_[kSoupClosed].add(1);
      return false;
    }
    client.session.spoke(now);
    counters_[kSoupBytes].add(static_cast<uint64_t>(n));
    client.took(static_cast<size_t>(n));
    client.progressed = now;
  }
  client.took_all();
  client.progressed = now;
  if (client.last && client.ended == 0) client.ended = now;
  if (client.ended != 0 && now - client.ended > options_.timeout_ns) {
    counters_[kSoupSilent].add(1);
    return false;
  }
  // Half closed: the other side reads all of it before it hears of the end.
  if (client.last) shutdown(client.fd.get(), SHUT_WR);
  return true;
}

std::vector<std::pair<std::string, uint64_t>> SoupServer::stats() const {
  std::vector<std::pair<std::string, uint64_t>> out;
  for (size_t i = 0; i < kNames.size(); i++) out.emplace_back(kNames[i], counters_[i].value());
  return out;
}

}  // namespace wp::feed
