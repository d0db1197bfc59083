// SPDX-License-Identifier: Apache-2.0
#include "feed/message_filter.h"

#include <algorithm>
#include <cstring>

#include "core/error.h"

namespace wp::feed {
namespace {

template <class T>
size_t count(const std::optional<std::vector<T>>& list) {
  return list ? list->size() : 0;
}

uint64_t key_of(const std::string& symbol) {
  if (symbol.empty() || symbol.size() > 8)
    throw config_error("symbols", "\"" + symbol + "\"", "1 to 8 characters");
  return symbol_key(symbol);
}

}  // namespace

TypeFilter::TypeFilter(const FilterOptions& options, size_t size)
    : active_(options.types.has_value()), set_(size) {
  if (!active_) return;
  for (uint32_t type : *options.types) {
    if (type >= size)
      throw config_error("types", std::to_string(type), "below " + std::to_string(size));
    set_.put(type);
  }
}

LocateFilter::LocateFilter(const FilterOptions& options)
    : active_(options.instruments || options.symbols),
      symbols_(std::max<size_t>(count(options.symbols), 1)),
      resolved_(count(options.symbols)),
      set_(kNumbers) {
  if (options.instruments) fixed_ = *options.instruments;
  for (uint32_t n : fixed_) {
    if (n >= kNumbers) throw config_error("instruments", std::to_string(n), "below 65536");
  }
  if (options.symbols) {
    for (const std::string& symbol : *options.symbols) {
      const size_t before = symbols_.keys().size();
      symbols_.intern(key_of(symbol));
      if (symbols_.keys().size() == before)
        throw config_error("symbols", "\"" + symbol + "\" twice", "given once");
    }
  }
  reset();
}

void LocateFilter::reset() {
  set_.clear();
  set_.put(0);
  for (uint32_t n : fixed_) set_.put(n);
}

void LocateFilter::learn(uint64_t symbol, uint16_t locate) {
  const uint32_t number = symbols_.number(symbol);
  if (number == 0) {
    // A number that was one of ours is another instrument's now.
    for (uint32_t& known : resolved_) {
      if (known == locate && locate != 0) {
        known = 0;
        if (std::find(fixed_.begin(), fixed_.end(), locate) == fixed_.end()) set_.remove(locate);
      }
    }
    return;
  }
  resolved_[number - 1] = locate;
  set_.put(locate);
}

void LocateFilter::forget() {
  std::fill(resolved_.begin(), resolved_.end(), 0);
  reset();
}

SymbolFilter::SymbolFilter(const FilterOptions& options, const SymbolTable& table)
    : active_(options.instruments || options.symbols),
      symbols_(std::max<size_t>(count(options.instruments) + count(options.symbols), 1)) {
  if (options.symbols) {
    for (const std::string& symbol : *options.symbols) symbols_.intern(key_of(symbol));
  }
  if (options.instruments) {
    for (uint32_t n : *options.instruments) {
      if (n == 0 || n > table.keys().size())
        throw config_error("instruments", std::to_string(n),
                           "a number that symbol_table has given; name what it has not in symbols");
      symbols_.intern(table.keys()[n - 1]);
    }
  }
}

IdFilter::IdFilter(const FilterOptions& options)
    : active_(options.instruments.has_value()),
      ids_(std::max<size_t>(count(options.instruments), 1)) {
  if (options.symbols)
    throw config_error("symbols", "a list", "left out: this venue's filter is by instruments");
  if (!active_) return;
  for (uint32_t id : *options.instruments) ids_.intern(id);
}

}  // namespace wp::feed
