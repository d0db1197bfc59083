// SPDX-License-Identifier: Apache-2.0
// Options of a port, as "name=value" from the port spec and from keyword arguments alike. A
// backend declares its options with a help text; an unknown name is an error that lists them.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace wp {

struct OptionHelp {
  const char* name;
  const char* fallback;  // default, as text
  const char* help;      // values and unit
};

class Options {
 public:
  Options() = default;
  // `pass_on`: names that are not declared are kept apart (undeclared()) instead of being errors.
  Options(std::map<std::string, std::string> values, std::span<const OptionHelp> known,
          std::string_view backend, bool pass_on = false);

  bool has(const std::string& name) const { return values_.contains(name); }
  // The value given or the declared default. Each throws kConfig naming field, value and range.
  const std::string& text(const std::string& name) const;
  int64_t integer(const std::string& name, int64_t lowest, int64_t highest) const;
  uint32_t power_of_two(const std::string& name, uint32_t lowest, uint32_t highest) const;
  double number(const std::string& name, double lowest, double highest) const;
  bool flag(const std::string& name) const;  // true/false, yes/no, on/off, 1/0
  const std::string& one_of(const std::string& name,
                            std::span<const std::string_view> allowed) const;
  std::vector<int> index_list(const std::string& name) const;  // "0-3,7"; "all" = empty
  const std::map<std::string, std::string>& undeclared() const noexcept { return undeclared_; }

 private:
  std::map<std::string, std::string> values_, undeclared_;
};

}  // namespace wp
