// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "feed/channel.h"
#include "python/bindings.h"

namespace wp::python {

// What FeedChannel.snapshot() gives.
nb::dict snapshot_of(const feed::Channel& channel);

}  // namespace wp::python
