// SPDX-License-Identifier: Apache-2.0
#include "programs/native_instance.h"

#include <doctest/doctest.h>

#include <atomic>
#include <thread>

#include "core/batch_storage.h"
#include "core/error.h"

namespace wp::programs {
namespace {

using std::chrono::milliseconds;

std::shared_ptr<NativeInstance> counting(uint32_t slots = 1) {
  for (const Builtin& each : builtin_programs())
    if (std::string(each.name) == "count")
      return std::make_shared<NativeInstance>(each.code(), InstanceConfig{.slots = slots});
  throw Error(ErrorKind::kConfig, "there is no program count");
}

// Its only slot is free again once no stage has it.
bool is_free(NativeInstance& instance) {
  try {
    instance.give_slot(instance.take_slot(1));
    return true;
  } catch (const Error&) {
    return false;
  }
}

TEST_CASE("a program is replaced at once where no worker runs: not begun, not started, ended") {
  const auto a = counting(), b = counting(), c = counting(), d = counting();
  ProgramStage stage(a, "count");
  stage.replace(b);
  CHECK(stage.instance() == b);
  stage.attach({{}, 8});  // a worker whose other stages then refused
  stage.replace(c);
  CHECK(stage.instance() == c);
  CHECK(is_free(*b));
  CHECK_FALSE(is_free(*c));
  stage.enter();
  CHECK(stage.idle(0));
  stage.end(0);
  stage.replace(d);
  CHECK(stage.instance() == d);
  CHECK(is_free(*c));
}

TEST_CASE("a worker that comes to no batch keeps its program, and the caller is told") {
  const auto a = counting(), b = counting();
  ProgramStage stage(a, "count");
  stage.attach({{}, 8});
  stage.enter();
  try {
    stage.replace(b, milliseconds(5));
    FAIL("it was not refused");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::kBusy);
    CHECK(std::string(error.what()).find("stage count") != std::string::npos);
  }
  CHECK(stage.instance() == a);
  CHECK(is_free(*b));
  CHECK(stage.idle(0));  // the worker comes late: what was taken back is not there any more
  CHECK_FALSE(is_free(*a));
  stage.end(0);
}

TEST_CASE("a running worker takes each replacement, and lets go of the one before") {
  const auto a = counting(), b = counting();
  ProgramStage stage(a, "count");
  stage.attach({{}, 8});
  std::atomic<bool> stop{false};
  std::thread worker([&] {
    stage.enter();
    while (!stop.load()) stage.idle(0);
    stage.end(0);
  });
  for (int i = 0; i < 200; i++) {
    const auto& next = i % 2 ? a : b;
    stage.replace(next, milliseconds(60'000));
    CHECK(stage.instance() == next);
    CHECK(is_free(i % 2 ? *b : *a));
  }
  stop = true;
  worker.join();
}

}  // namespace
}  // namespace wp::programs
