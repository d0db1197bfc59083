/* SPDX-License-Identifier: Apache-2.0
 *
 * The test program's operator new, which counts per thread, and a test that it
 * does: "no allocation" elsewhere means something only if this can fail.
 */
#include "feed/alloc_counter.h"

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdlib>
#include <new>

namespace {

thread_local uint64_t allocation_count = 0;

void* allocate(std::size_t size, std::size_t alignment) {
  ++allocation_count;
  const std::size_t rounded = (size + alignment - 1) / alignment * alignment;
  void* p = alignment <= alignof(std::max_align_t) ? std::malloc(size == 0 ? 1 : size)
                                                   : std::aligned_alloc(alignment, rounded);
  if (p == nullptr) throw std::bad_alloc();
  return p;
}

}  // namespace

// Not inlined, or GCC takes new and free for a mismatch. The array forms are here
// too: a sanitizer's own would not call the plain ones.
#define WP_NEW [[gnu::noinline]] void* operator
#define WP_DELETE [[gnu::noinline]] void operator
WP_NEW new (std::size_t n) {
  return allocate(n, alignof(std::max_align_t));
}
WP_NEW new[](std::size_t n) {
  return allocate(n, alignof(std::max_align_t));
}
// The standard library's temporary buffers come from here, and go back to the delete below.
WP_NEW new (std::size_t n, const std::nothrow_t&) noexcept {
  ++allocation_count;
  return std::malloc(n == 0 ? 1 : n);
}
WP_NEW new[](std::size_t n, const std::nothrow_t&) noexcept {
  ++allocation_count;
  return std::malloc(n == 0 ? 1 : n);
}
WP_NEW new (std::size_t n, std::align_val_t a) {
  return allocate(n, static_cast<std::size_t>(a));
}
WP_NEW new[](std::size_t n, std::align_val_t a) {
  return allocate(n, static_cast<std::size_t>(a));
}
WP_DELETE delete (void* p) noexcept {
  std::free(p);
}
WP_DELETE delete[](void* p) noexcept {
  std::free(p);
}
WP_DELETE delete (void* p, std::size_t) noexcept {
  std::free(p);
}
WP_DELETE delete[](void* p, std::size_t) noexcept {
  std::free(p);
}
WP_DELETE delete (void* p, std::align_val_t) noexcept {
  std::free(p);
}
WP_DELETE delete[](void* p, std::align_val_t) noexcept {
  std::free(p);
}
WP_DELETE delete (void* p, std::size_t, std::align_val_t) noexcept {
  std::free(p);
}
WP_DELETE delete[](void* p, std::size_t, std::align_val_t) noexcept {
  std::free(p);
}

namespace wp::testing {

uint64_t allocations() {
  return allocation_count;
}

TEST_CASE("allocations are counted") {
  const uint64_t before = allocations();
  // Called as functions: a compiler may leave out a new-expression.
  void* const plain = ::operator new(10);
  void* const aligned = ::operator new(10, std::align_val_t(64));
  void* const array = ::operator new[](10);
  const uint64_t during = allocations();
  ::operator delete(plain);
  ::operator delete(aligned, std::align_val_t(64));
  ::operator delete[](array);
  const uint64_t after = allocations();
  CHECK(during == before + 3);
  CHECK(after == during);
}

}  // namespace wp::testing
