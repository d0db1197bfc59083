// SPDX-License-Identifier: Apache-2.0
#include "core/histogram.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <random>
#include <vector>

using wp::Histogram;

TEST_CASE("histogram: every bucket's bounds lead back to it, without gap or overlap") {
  uint64_t expected = 0;
  for (size_t i = 0; i < Histogram::kBuckets; i++) {
    const uint64_t low = Histogram::lowest_in(i);
    CHECK(low == expected);
    CHECK(Histogram::index_of(low) == i);
    CHECK(Histogram::index_of(low + Histogram::width_of(i) - 1) == i);
    expected = low + Histogram::width_of(i);
  }
  CHECK(expected == static_cast<uint64_t>(Histogram::kHighest) + 1);
}

TEST_CASE("histogram: quantiles are within 1 % of the sorted samples") {
  auto h = std::make_unique<Histogram>();
  std::mt19937_64 random(7);
  std::vector<int64_t> samples;
  for (int i = 0; i < 50'000; i++) {
    const double exponent = std::uniform_real_distribution<double>(0, 10)(random);
    samples.push_back(static_cast<int64_t>(std::pow(10.0, exponent)));
    h->record(samples.back());
  }
  std::sort(samples.begin(), samples.end());
  for (const double q : {0.001, 0.01, 0.25, 0.5, 0.9, 0.99, 0.999, 0.9999, 1.0}) {
    const auto rank = static_cast<size_t>(std::ceil(q * static_cast<double>(samples.size())));
    const auto exact = static_cast<double>(samples[std::max<size_t>(rank, 1) - 1]);
    CHECK(std::abs(static_cast<double>(h->quantile(q)) - exact) <= 0.01 * exact);
  }
  CHECK(h->min() == samples.front());
  CHECK(h->max() == samples.back());
}

TEST_CASE("histogram: no sample vanishes") {
  auto h = std::make_unique<Histogram>();
  h->record(-5);
  h->record(INT64_MAX, 3);
  h->record(100, 2);
  CHECK(h->total() == 6);
  CHECK(h->negative() == 1);
  CHECK(h->overflow() == 3);
  CHECK(h->count_at(Histogram::index_of(100)) == 2);
  CHECK(h->count_at(Histogram::kBuckets - 1) == 3);
}

TEST_CASE("histogram: merge equals recording everything in one") {
  auto a = std::make_unique<Histogram>(), b = std::make_unique<Histogram>(),
       all = std::make_unique<Histogram>();
  for (int64_t v = 1; v < 5'000'000; v += 997) {
    (v % 2 ? a : b)->record(v, 1 + v % 3);
    all->record(v, 1 + v % 3);
  }
  a->merge(*b);
  CHECK(a->total() == all->total());
  CHECK(a->min() == all->min());
  CHECK(a->max() == all->max());
  CHECK(a->mean() == doctest::Approx(all->mean()));
  for (size_t i = 0; i < Histogram::kBuckets; i++) CHECK(a->count_at(i) == all->count_at(i));
  const auto empty = std::make_unique<Histogram>();
  a->merge(*empty);
  CHECK(a->min() == all->min());
}

TEST_CASE("histogram: empty answers zero") {
  const auto h = std::make_unique<Histogram>();
  CHECK(h->quantile(0.5) == 0);
  CHECK(h->min() == 0);
  CHECK(h->mean() == 0.0);
}
