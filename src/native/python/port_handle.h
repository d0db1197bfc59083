// SPDX-License-Identifier: Apache-2.0
// What stands behind a Python Port: the native port, the pool of batch arrays, and the frames
// that Python still looks at after their batch was released.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/batch_storage.h"
#include "core/port.h"
#include "python/bindings.h"

namespace wp::python {

// The arrays of one batch, seen from NumPy without a copy. An array that Python keeps past the
// batch's end keeps these arrays out of the pool, so that it never shows another batch's values.
struct BatchSlot {
  explicit BatchSlot(uint32_t capacity);
  bool seen_by_python() const;  // needs the GIL

  std::shared_ptr<BatchStorage> storage;
  nb::object lengths, timestamps, hashes, verdicts, targets;  // whole arrays
};

// Whoever takes a frame back from the last memoryview of it. Any thread, with the GIL.
class FrameOwner {
 public:
  virtual ~FrameOwner() = default;
  virtual void give_back_frame(uint32_t queue, uint8_t* data, uint64_t handle) = 0;
};

class PortHandle : public FrameOwner, public std::enable_shared_from_this<PortHandle> {
 public:
  PortHandle(std::unique_ptr<Port> port, uint32_t batch_size, bool spin);

  Port& port() const;  // throws kReleased when closed
  std::shared_ptr<Port> shared() const;
  bool closed() const noexcept { return closed_.load(); }
  // Detaches at once, or, while Python still has batches or frames, when the last one is gone. A
  // loop over the port in another thread ends within a tenth of a second.
  void close();
  uint32_t batch_size() const noexcept { return batch_size_; }
  bool writable() const noexcept { return writable_; }
  uint64_t held() const noexcept { return held_.load(); }

  // One burst from the next queue that has frames, waiting at most timeout_us (negative: until
  // there are some). nullptr: nothing came, or the source has ended. Call with the GIL.
  std::unique_ptr<BatchSlot> receive(int64_t timeout_us, uint32_t* queue);
  void give_back(std::unique_ptr<BatchSlot> slot, uint32_t queue);

  // A frame that outlives its batch. `give_back_frame` may come from any thread.
  void hold_frame() noexcept {
    held_.fetch_add(1);
    users_.fetch_add(1);
  }
  void give_back_frame(uint32_t queue, uint8_t* data, uint64_t handle) override;

  // Arrays without frames, for sending; recycle() takes them back.
  std::unique_ptr<BatchSlot> take_slot();
  void recycle(std::unique_ptr<BatchSlot> slot);
  uint32_t transmit(wp_batch& batch, uint32_t queue);

 private:
  // Python as the driver of queues, in one thread or several by turns; under the mutex.
  bool take_queue(uint32_t queue) noexcept;
  void leave_queue(uint32_t queue) noexcept;
  bool take_queues() noexcept;
  void leave_queues() noexcept;
  void drop_user();
  uint32_t poll_queues(wp_batch& batch, uint32_t* queue) noexcept;
  void wait(int64_t timeout_us) noexcept;

  std::shared_ptr<Port> port_;
  uint32_t batch_size_;
  bool spin_;
  bool writable_;
  uint32_t next_queue_ = 0;
  std::atomic<bool> closed_{false};
  std::atomic<bool> polling_{false};
  std::atomic<uint64_t> held_{0};
  // Whoever needs the native port: this handle until closed, each batch, each held frame.
  std::atomic<uint64_t> users_{1};
  // A queue is one thread's at a time (port.h), but Python may send or give a batch back while
  // another thread polls: held around each burst, never while waiting.
  std::mutex burst_mutex_;
  std::vector<uint32_t> drives_;  // of each queue: how many calls of Python drive it
  std::vector<std::unique_ptr<BatchSlot>> free_;
};

}  // namespace wp::python
