/* SPDX-License-Identifier: Apache-2.0
 *
 * Order books that one thread builds while others look at them.
 */
#pragma once

#include <mutex>

#include "feed/book.h"

namespace wp::feed {

/* A feed takes the mutex once per burst; who looks holds it while copying a few levels. */
struct LockedBooks {
  explicit LockedBooks(const BookOptions& options) : books(options) {}
  Books books;
  std::mutex mutex;
};

}  // namespace wp::feed
