// SPDX-License-Identifier: Apache-2.0
#include "core/options.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <stdexcept>
#include <utility>

#include "core/error.h"

namespace wp {
namespace {

template <class T>
bool parse(std::string_view text, T& out) {
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), out);
  return code == std::errc() && end == text.data() + text.size();
}

}  // namespace

Options::Options(std::map<std::string, std::string> values, std::span<const OptionHelp> known,
                 std::string_view backend, bool pass_on) {
  for (auto& [name, value] : values) {
    const auto same = [&given = name](const OptionHelp& o) { return given == o.name; };
    if (std::ranges::any_of(known, same)) {
      values_.emplace(name, value);
      continue;
    }
    if (pass_on) {
      undeclared_.emplace(name, value);
      continue;
    }
    std::string list;
    for (const OptionHelp& o : known) list += (list.empty() ? "" : ", ") + std::string(o.name);
    throw Error(ErrorKind::kConfig,
                "the " + std::string(backend) + " backend has no option \"" + name +
                    "\" (given as " + name + "=" + value + ")",
                "its options are: " + list);
  }
  for (const OptionHelp& o : known) values_.emplace(o.name, o.fallback);
}

const std::string& Options::text(const std::string& name) const {
  const auto found = values_.find(name);
  if (found == values_.end()) throw std::logic_error("option " + name + " was never declared");
  return found->second;
}

int64_t Options::integer(const std::string& name, int64_t lowest, int64_t highest) const {
  int64_t value = 0;
  if (!parse(text(name), value) || value < lowest || value > highest)
    throw config_error(
        name, text(name),
        "a whole number from " + std::to_string(lowest) + " to " + std::to_string(highest));
  return value;
}

uint32_t Options::power_of_two(const std::string& name, uint32_t lowest, uint32_t highest) const {
  uint32_t value = 0;
  if (!parse(text(name), value) || value < lowest || value > highest || !std::has_single_bit(value))
    throw config_error(
        name, text(name),
        "a power of two from " + std::to_string(lowest) + " to " + std::to_string(highest));
  return value;
}

double Options::number(const std::string& name, double lowest, double highest) const {
  double value = 0;
  if (!parse(text(name), value) || !std::isfinite(value) || value < lowest || value > highest) {
    const auto shown = [](double v) {
      std::string s = std::to_string(v);
      s.erase(s.find_last_not_of('0') + 1);
      if (s.back() == '.') s.pop_back();
      return s;
    };
    throw config_error(name, text(name),
                       "a number from " + shown(lowest) + " to " + shown(highest));
  }
  return value;
}

bool Options::flag(const std::string& name) const {
  std::string value = text(name);
  std::ranges::transform(value, value.begin(), [](unsigned char c) { return std::tolower(c); });
  if (value == "true" || value == "yes" || value == "on" || value == "1") return true;
  if (value == "false" || value == "no" || value == "off" || value == "0") return false;
  throw config_error(name, text(name), "true or false");
}

const std::string& Options::one_of(const std::string& name,
                                   std::span<const std::string_view> allowed) const {
  const std::string& value = text(name);
  if (std::ranges::find(allowed, value) != allowed.end()) return value;
  std::string list;
  for (const auto a : allowed) list += (list.empty() ? "" : " | ") + std::string(a);
  throw config_error(name, value, list);
}

std::vector<int> Options::index_list(const std::string& name) const {
  const std::string& value = text(name);
  std::vector<int> out;
  if (value == "all") return out;
  for (size_t at = 0; at <= value.size();) {
    const size_t comma = std::min(value.find(',', at), value.size());
    const std::string_view item = std::string_view(value).substr(at, comma - at);
    const size_t dash = item.find('-');
    int first = 0, last = 0;
    const bool good = dash == std::string_view::npos ? parse(item, first) && (last = first, true)
                                                     : parse(item.substr(0, dash), first) &&
                                                           parse(item.substr(dash + 1), last);
    if (!good || first < 0 || last < first || last > 1023)
      throw config_error(name, value, "\"all\" or a list such as 0,2 or 0-3");
    for (int i = first; i <= last; i++)
      if (std::ranges::find(out, i) == out.end()) out.push_back(i);
    at = comma + 1;
  }
  return out;
}

}  // namespace wp
