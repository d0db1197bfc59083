// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <random>
#include <vector>

#include "core/error.h"
#include "feed/sbe_naive.h"
#include "feed/sbe_plan.h"
#include "feed/sbe_plan_words.h"

using namespace wp::feed;
using test::plan_group;
using test::PlanBlock;
using test::PlanDimension;

namespace {

std::vector<uint32_t> sample() {
  PlanBlock inner{1, {{0, 1}}, {}, {}};
  PlanBlock entry{4, {{0, 4, 4}}, {plan_group(inner)}, {}};
  PlanBlock root{9, {{0, 8, 8}, {8, 1, 1, 2}}, {plan_group(entry, {8, 0, 2, 7, 1})}, {{}}};
  return test::plan_words({{5, root}});
}

std::vector<uint8_t> header(uint16_t length, uint16_t id, uint16_t schema, uint16_t version) {
  std::vector<uint8_t> out;
  for (const uint16_t v : {length, id, schema, version}) {
    out.push_back(static_cast<uint8_t>(v));
    out.push_back(static_cast<uint8_t>(v >> 8));
  }
  return out;
}

void add(std::vector<uint8_t>& to, size_t n, uint8_t byte = 0) {
  to.insert(to.end(), n, byte);
}

}  // namespace

TEST_CASE("sbe: a plan of words has its blocks in the order of the schema") {
  const SbePlan plan(sample());
  REQUIRE(plan.blocks().size() == 3);
  CHECK(plan.messages()[0].id == 5);
  CHECK(plan.messages()[0].root == 0);
  CHECK(plan.messages()[0].last_block == 2);
  CHECK(plan.blocks()[0].groups[0].block == 1);
  CHECK(plan.blocks()[1].groups[0].block == 2);
  CHECK(plan.blocks()[2].leaf);
  CHECK_FALSE(plan.blocks()[1].leaf);
  CHECK(plan.blocks()[0].required == 9);
  CHECK(plan.blocks()[0].required_by(1) == 8);
  CHECK(plan.find(5) == 0);
  CHECK(plan.find(6) == -1);
  CHECK(plan.find(4) == -1);
}

TEST_CASE("sbe: words that contradict themselves are refused, at whatever place they end") {
  const std::vector<uint32_t> words = sample();
  for (size_t n = 0; n < words.size(); ++n) {
    CHECK_THROWS_AS(SbePlan(std::span(words).first(n)), wp::Error);
  }
  std::vector<uint32_t> longer = words;
  longer.push_back(0);
  CHECK_THROWS_AS(SbePlan{longer}, wp::Error);
  // Every word made enormous is out of some range, but 14: the schema's id and
  // version, seven versions since when a part is there, five words of nulls.
  size_t refused = 0;
  for (size_t i = 0; i < words.size(); ++i) {
    std::vector<uint32_t> wrong = words;
    wrong[i] = 0x7fff'ffff;
    try {
      const SbePlan plan(wrong);
    } catch (const wp::Error&) {
      ++refused;
    }
  }
  CHECK(refused == words.size() - 14);
}

TEST_CASE("sbe: a field outside its block, or two templates of one id, are refused") {
  CHECK_THROWS_AS(SbePlan(test::plan_words({{1, {4, {{1, 4}}, {}, {}}}})), wp::Error);
  CHECK_THROWS_AS(SbePlan(test::plan_words({{1, {4, {{0, 3, 2}}, {}, {}}}})), wp::Error);
  CHECK_THROWS_AS(SbePlan(test::plan_words({{1, {}}, {1, {}}})), wp::Error);
  PlanBlock deep;
  for (int i = 0; i < 10; ++i) {
    PlanBlock around;
    around.groups.push_back(plan_group(deep));
    deep = around;
  }
  CHECK_THROWS_AS(SbePlan(test::plan_words({{1, deep}})), wp::Error);
}

TEST_CASE("sbe: every header is answered by its result") {
  const SbePlan plan(sample());
  SbeMessage m;
  std::vector<uint8_t> good = header(9, 5, 1, 2);
  add(good, 9);
  add(good, 8);  // a group of none
  add(good, 2);  // data of none
  CHECK(plan.open(good.data(), good.size(), m) == SbeResult::kOk);
  CHECK(m.template_id == 5);
  CHECK(m.block_length == 9);
  CHECK(m.version == 2);
  for (size_t n = 0; n < good.size(); ++n) {
    CHECK(plan.open(good.data(), n, m) == SbeResult::kMalformed);
  }
  const auto result = [&](const std::vector<uint8_t>& bytes) {
    return plan.open(bytes.data(), bytes.size(), m);
  };
  CHECK(result(header(9, 6, 1, 2)) == SbeResult::kUnknown);
  CHECK(result(header(9, 5, 2, 2)) == SbeResult::kOtherSchema);
  std::vector<uint8_t> old = header(8, 5, 1, 1);
  add(old, 8 + 8 + 2);
  CHECK(result(old) == SbeResult::kOk);
  std::vector<uint8_t> lacks = header(8, 5, 1, 2);  // its version has the ninth byte
  add(lacks, 8 + 8 + 2);
  CHECK(result(lacks) == SbeResult::kMalformed);
  std::vector<uint8_t> newer = header(12, 5, 1, 9);
  add(newer, 12 + 8 + 2 + 40);
  CHECK(result(newer) == SbeResult::kOk);
}

TEST_CASE("sbe: entries that cost nothing are limited") {
  // A count of 32 bits over entries of no bytes would be 4 billion rows.
  PlanBlock root{0, {}, {plan_group({}, {6, 0, 2, 2, 4})}, {}};
  const SbePlan plan(test::plan_words({{1, root}}));
  SbeMessage m;
  std::vector<uint8_t> message = header(0, 1, 1, 1);
  add(message, 2);
  add(message, 2, 0xff);
  add(message, 2);
  CHECK(plan.open(message.data(), message.size(), m) == SbeResult::kOk);
  message[12] = 1;
  CHECK(plan.open(message.data(), message.size(), m) == SbeResult::kMalformed);
  // The same where the entries have groups, that this version lacks.
  PlanBlock late{0, {}, {plan_group({}, {}, 9)}, {}};
  PlanBlock around{0, {}, {plan_group(late, {6, 0, 2, 2, 4})}, {}};
  const SbePlan nested(test::plan_words({{1, around}}));
  CHECK(nested.open(message.data(), message.size(), m) == SbeResult::kMalformed);
}

TEST_CASE("sbe: columns are what the naive decoder makes of random schemas and messages") {
  std::mt19937 random(4);
  size_t decoded = 0, malformed = 0;
  for (int round = 0; round < 3000; ++round) {
    std::vector<uint8_t> recipe(64);
    for (uint8_t& b : recipe) b = static_cast<uint8_t>(random());
    std::span<const uint8_t> left(recipe);
    const bool big = round % 2 != 0;
    naive::SbeDifferential d(naive::TemplatesFrom(left).make(), big);
    for (int k = 0; k < 12; ++k) {
      std::vector<uint8_t> message = header(random() % 24, 1 + random() % 2, 1, random() % 5);
      if (big) {
        for (size_t i = 0; i < 8; i += 2) std::swap(message[i], message[i + 1]);
      }
      const size_t n = random() % 120;
      // Small bytes make lengths and counts that fit.
      for (size_t i = 0; i < n; ++i) {
        message.push_back(static_cast<uint8_t>(random() % (random() % 4 == 0 ? 256 : 4)));
      }
      const char* const difference = d.on_message(message);
      REQUIRE_MESSAGE(difference == nullptr, difference);
    }
    const char* const difference = d.rows();
    REQUIRE_MESSAGE(difference == nullptr, difference);
    decoded += d.columns().counters().messages;
    malformed += d.columns().counters().malformed;
  }
  CHECK(decoded > 3000);
  CHECK(malformed > 3000);
}
