// SPDX-License-Identifier: Apache-2.0
#include "core/backend.h"

#include <algorithm>
#include <deque>
#include <utility>

#include "core/error.h"

namespace wp {
namespace {

// A deque: a backend that is being opened stays where it is while another one registers.
std::deque<Backend>& registry() {
  static std::deque<Backend> list;
  return list;
}

}  // namespace

void register_backend(const Backend& backend) {
  if (!find_backend(backend.name)) registry().push_back(backend);
}

const Backend* find_backend(std::string_view name) noexcept {
  const auto found = std::ranges::find(registry(), name, &Backend::name);
  return found == registry().end() ? nullptr : &*found;
}

std::vector<const Backend*> backends() {
  std::vector<const Backend*> out;
  for (const Backend& b : registry()) out.push_back(&b);
  return out;
}

PortSpec parse_port_spec(const std::string& spec) {
  PortSpec out;
  const size_t colon = std::min(spec.find(':'), spec.size());
  out.backend = spec.substr(0, colon);
  const std::string rest = colon < spec.size() ? spec.substr(colon + 1) : "";
  // The device ends at the first comma that begins "name=": a file name may hold a comma.
  size_t end = 0;
  for (; end < rest.size(); end++) {
    if (rest[end] != ',') continue;
    const size_t equals = rest.find('=', end);
    if (equals == std::string::npos) {
      end = rest.size();
      break;
    }
    const auto name = std::string_view(rest).substr(end + 1, equals - end - 1);
    if (!name.empty() && std::ranges::all_of(name, [](unsigned char c) {
          return std::isalnum(c) || c == '_' || c == '-';
        }))
      break;
  }
  out.device = rest.substr(0, end);
  while (end < rest.size()) {
    const size_t begin = end + 1;
    const size_t equals = rest.find('=', begin);
    // A value may hold commas ("queues=0,2"): it ends where the next "name=" begins.
    size_t next = rest.find(',', equals);
    while (next != std::string::npos) {
      const size_t word = rest.find_first_not_of(
          "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-", next + 1);
      if (word != std::string::npos && rest[word] == '=' && word > next + 1) break;
      next = rest.find(',', next + 1);
    }
    if (next == std::string::npos) next = rest.size();
    const std::string name = rest.substr(begin, equals - begin);
    const std::string value = rest.substr(equals + 1, next - equals - 1);
    if (const auto [had, is_new] = out.options.emplace(name, value); !is_new)
      throw Error(ErrorKind::kConfig, "option " + name + " is given twice, as " + had->second +
                                          " and as " + value + ", in \"" + spec + "\"");
    end = next;
  }
  if (out.backend.empty())
    throw config_error("port", "\"" + spec + "\"", "backend:device, for example af_xdp:eth0");
  return out;
}

std::unique_ptr<Port> open_port(const std::string& spec, const Steering& steering,
                                std::map<std::string, std::string> options, uint32_t batch_size) {
  PortSpec parsed = parse_port_spec(spec);
  const Backend* backend = find_backend(parsed.backend);
  if (!backend) {
    std::string known;
    for (const Backend& b : registry()) known += (known.empty() ? "" : ", ") + std::string(b.name);
    throw Error(ErrorKind::kUnavailable, "there is no backend \"" + parsed.backend + "\"",
                "loaded are: " + known);
  }
  if (batch_size < 1 || batch_size > 4096)
    throw config_error("batch_size", std::to_string(batch_size), "from 1 to 4096");
  if (steering.empty())
    throw Error(ErrorKind::kConfig, "port \"" + spec + "\" has no steering",
                "say which flows to take, e.g. steer=wp.udp(\"239.1.1.1\", 9001), or take all of "
                "them on purpose with steer=wp.everything()");
  for (auto& [name, value] : parsed.options) options.emplace(name, value);
  PortConfig config{.spec = spec,
                    .device = parsed.device,
                    .options = Options(std::move(options), backend->options, backend->name,
                                       backend->passes_on != nullptr),
                    .steering = steering,
                    .batch_size = batch_size,
                    .clock = &Clock::process(),
                    .telemetry = &Telemetry::process()};
  std::unique_ptr<Port> port = backend->open(config);
  port->tap().open(*config.telemetry, spec, port->queues());
  return port;
}

}  // namespace wp
