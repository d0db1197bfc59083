// SPDX-License-Identifier: Apache-2.0
#include "core/steering.h"

#include <arpa/inet.h>

namespace wp {

std::string format_address(const FlowRule& rule) {
  if (rule.family == 0) return "*";
  char text[INET6_ADDRSTRLEN];
  inet_ntop(rule.family == 4 ? AF_INET : AF_INET6, rule.address.data(), text, sizeof text);
  return text;
}

std::string Steering::describe() const {
  if (everything) return "everything";
  std::string out;
  for (const FlowRule& rule : rules) {
    if (!out.empty()) out += ", ";
    out += rule.protocol == Protocol::kUdp   ? "udp "
           : rule.protocol == Protocol::kTcp ? "tcp "
                                             : "any ";
    const std::string address = format_address(rule);
    out += rule.family == 6 ? "[" + address + "]" : address;
    out += ":" + (rule.port ? std::to_string(rule.port) : std::string("*"));
  }
  return out;
}

}  // namespace wp
