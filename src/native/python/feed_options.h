// SPDX-License-Identifier: Apache-2.0
// Options and counters of arbiters and recovery as Python has them: for the classes without I/O
// and for channels of a feed.
#pragma once

#include <memory>
#include <string>

#include "feed/arbiter_types.h"
#include "feed/cme_recovery.h"
#include "feed/recovery.h"
#include "feed/recovery_requests.h"
#include "python/bindings.h"

namespace wp::python {

// Without the zeros behind it.
nb::bytes session_bytes(const feed::SessionName& session);
feed::SessionName session_of(const nb::bytes& name);

// Each names an option that it does not know, or whose value is of another kind.
void set_arbiter_options(const nb::dict& from, feed::ArbiterOptions& to);
void set_recovery_options(const nb::dict& from, feed::RecoveryOptions& to);

std::unique_ptr<feed::RequestEncoder> encoder_named(const std::string& venue,
                                                    const std::string& source_id,
                                                    uint8_t product_id, uint8_t channel_id);

nb::dict counters_of(const feed::UnitCounters& c);
nb::dict counters_of(const feed::LineCounters& c);
nb::dict counters_of(const feed::RecoveryCounters& c);
nb::dict counters_of(const feed::CmeRecoveryCounters& c, size_t held_now);

}  // namespace wp::python
