// SPDX-License-Identifier: Apache-2.0
// The batch as Python sees it: valid until released, then every use raises.
#pragma once

#include <memory>
#include <vector>

#include "python/port_handle.h"

namespace wp::python {

// Exports one frame's bytes to memoryviews. While any view of it lives, the frame stays out of
// the port's pool, so that no view ever shows another packet's bytes.
struct FrameView {
  uint8_t* data = nullptr;
  Py_ssize_t length = 0;
  Py_ssize_t exports = 0;
  bool readonly = false;              // the port declares that its frames cannot be written to
  std::shared_ptr<FrameOwner> owner;  // set once the batch let go of the frame
  std::shared_ptr<uint8_t[]> memory;  // of a copied batch
  uint32_t queue = 0;
  uint64_t handle = WP_NO_FRAME;

  void let_go();
};

// A memoryview and what it looks at.
struct FrameMemory {
  nb::object memory_view, frame;

  static FrameMemory of(uint8_t* data, uint32_t length, bool readonly = false,
                        std::shared_ptr<uint8_t[]> memory = {});
  FrameView& view() const { return *nb::inst_ptr<FrameView>(frame); }
  // Makes every use of it raise. False: an array was made from it, which still sees the frame.
  bool release();
};

class PyBatch {
 public:
  PyBatch(std::shared_ptr<PortHandle> port, std::unique_ptr<BatchSlot> slot, uint32_t queue,
          bool in_stage = false, bool readonly = false);
  ~PyBatch();

  void release();
  // Instead of release(), for a batch that a stage was given: verdicts and targets go to the
  // worker's batch. A frame that is still looked at is the `keeper`'s from then on, no more the
  // batch's, and its number is the answer; -1 = there is none.
  int64_t end_stage(wp_batch& to, const std::shared_ptr<FrameOwner>& keeper,
                    std::unique_ptr<BatchSlot>& slot);
  bool released() const noexcept { return !slot_; }
  wp_batch& batch() const;
  BatchSlot& slot() const;
  uint32_t queue() const noexcept { return queue_; }
  size_t index(Py_ssize_t i) const;  // negative counts from the end

  nb::object view(Py_ssize_t i);
  // Around a send: a frame that leaves without a copy is the port's from then on, so views of it
  // end first, and one that cannot end (an array was made from it) has the frame copied instead.
  uint32_t transmit(PortHandle& port, uint32_t queue);
  nb::object array(Py_ssize_t i);
  enum ColumnName { kLength, kTimestamp, kHash, kVerdict, kTarget, kColumnNames };
  // With Python's numbers as its items, so that arithmetic is the same as compiled.
  nb::object items(ColumnName name);
  std::unique_ptr<PyBatch> copy() const;
  nb::object headers() const;
  nb::object column(size_t offset, nb::handle dtype, bool of_payload) const;

 private:
  struct Out {
    FrameMemory memory;
    uint32_t index;
  };
  std::shared_ptr<PortHandle> port_;  // none: a copy
  std::unique_ptr<BatchSlot> slot_;
  std::shared_ptr<uint8_t[]> memory_;  // of a copy
  uint32_t queue_;
  bool in_stage_;  // a worker's stage has it: end_stage() releases
  bool readonly_;  // the port declares that its frames cannot be written to
  std::vector<Out> out_;
  std::vector<uint32_t> out_of_;  // by frame: its place in out_ plus one
  nb::object items_[kColumnNames];
};

// `batch.data`: the frames as arrays.
struct PyFrames {
  nb::object batch;
};

}  // namespace wp::python
