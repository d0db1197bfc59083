/* SPDX-License-Identifier: Apache-2.0
 *
 * Which messages of a channel are wanted, by type and instrument: looked at
 * before decoding, and not looked at where nothing was asked for.
 */
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "feed/symbol_table.h"

namespace wp::feed {

/* Nothing given: all. */
struct FilterOptions {
  std::optional<std::vector<uint32_t>> instruments;  // venue's numbers
  std::optional<std::vector<std::string>> symbols;
  std::optional<std::vector<uint32_t>> types;
};

/* A set of small numbers. */
class NumberSet {
 public:
  explicit NumberSet(size_t size) : words_((size + 63) / 64) {}
  size_t size() const { return 64 * words_.size(); }
  bool has(uint32_t n) const { return words_[n / 64] >> (n % 64) & 1; }
  void put(uint32_t n) { words_[n / 64] |= uint64_t{1} << (n % 64); }
  void remove(uint32_t n) { words_[n / 64] &= ~(uint64_t{1} << (n % 64)); }
  void clear() { words_.assign(words_.size(), 0); }

 private:
  std::vector<uint64_t> words_;
};

/* Message types. Throws wp::Error naming one that is not below `size`. */
class TypeFilter {
 public:
  TypeFilter(const FilterOptions& options, size_t size);
  bool active() const { return active_; }
  bool wants(uint32_t type) const { return !active_ || set_.has(type); }

 private:
  bool active_;
  NumberSet set_;
};

/* Instruments by a number that every message has: ITCH's stock locate. Symbols get theirs from
 * the venue's directory messages. Number 0 is the market as a whole, and always wanted. */
class LocateFilter {
 public:
  static constexpr size_t kNumbers = 65'536;

  explicit LocateFilter(const FilterOptions& options);
  bool active() const { return active_; }
  bool wants(uint16_t locate) const { return set_.has(locate); }
  /* A directory message says which number a symbol has. */
  void learn(uint64_t symbol, uint16_t locate);
  /* Another session gives other numbers. */
  void forget();
  /* By symbol asked for, in the order given: its number, 0: not known yet. */
  const std::vector<uint32_t>& resolved() const { return resolved_; }

 private:
  void reset();

  bool active_;
  std::vector<uint32_t> fixed_;
  SymbolTable symbols_;
  std::vector<uint32_t> resolved_;
  NumberSet set_;
};

/* Instruments by the symbol in the message. Messages without one are always wanted: they name an
 * order, whose instrument is not known here. */
class SymbolFilter {
 public:
  /* instruments: numbers that `table` has. Throws wp::Error naming one that it has not. */
  SymbolFilter(const FilterOptions& options, const SymbolTable& table);
  bool active() const { return active_; }
  bool wants(uint64_t symbol) { return symbols_.number(symbol) != 0; }

 private:
  bool active_;
  SymbolTable symbols_;
};

/* Instruments by a number of 32 bits: CME's security id; 0 is always wanted. */
class IdFilter {
 public:
  explicit IdFilter(const FilterOptions& options);
  bool active() const { return active_; }
  bool wants(uint32_t id) { return id == 0 || ids_.number(id) != 0; }

 private:
  bool active_;
  SymbolTable ids_;
};

}  // namespace wp::feed
