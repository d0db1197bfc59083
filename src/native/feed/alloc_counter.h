/* SPDX-License-Identifier: Apache-2.0
 *
 * For native tests only: how often this thread has called operator new. The
 * replacement operators are in alloc_counter_test.cc, one set per test program.
 */
#pragma once

#include <cstdint>

namespace wp::testing {

uint64_t allocations();

}  // namespace wp::testing
