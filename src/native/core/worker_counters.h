// SPDX-License-Identifier: Apache-2.0
// What a worker counts, under "worker/<name>".
#pragma once

#include <array>
#include <cstddef>

#include "core/batch.h"

namespace wp {

enum WorkerCounter : size_t {
  kBursts,
  kIdlePolls,
  kFrames,
  kVerdict0,
  kPassUnsupported = kVerdict0 + WP_VERDICTS,
  kBadVerdict,
  kBadTarget,
  kTxUnsupported,
  kKeepUnsupported,
  kFromHost,  // frames of host ports, which no stage saw
  kWorkerCounters
};
inline constexpr std::array<const char*, kWorkerCounters> kWorkerCounterNames{
    "bursts",
    "idle_polls",
    "frames",
    "verdict.aborted",
    "verdict.drop",
    "verdict.pass",
    "verdict.tx",
    "verdict.redirect",
    "verdict.keep",
    "drop.pass_unsupported",
    "drop.bad_verdict",
    "drop.bad_target",
    "drop.tx_unsupported",
    "drop.keep_unsupported",
    "from_host"};

}  // namespace wp
