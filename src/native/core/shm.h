// SPDX-License-Identifier: Apache-2.0
// Shared memory, created 0600. A named segment is a file `wirepath.<name>` under /dev/shm that
// other processes attach to; an unnamed one is a memfd that nobody else sees.
#pragma once

#include <cstddef>
#include <string>

namespace wp {

class SharedMemory {
 public:
  // Throws kBusy where a live process holds the name; a dead owner's file is replaced.
  static SharedMemory create(const std::string& name, size_t bytes);
  static SharedMemory attach(const std::string& name, bool writable);
  // Removes segments whose owner was killed before it could. Quiet: what can't be removed stays.
  static void remove_abandoned() noexcept;

  SharedMemory(SharedMemory&& other) noexcept;
  SharedMemory& operator=(SharedMemory&&) = delete;
  SharedMemory(const SharedMemory&) = delete;
  ~SharedMemory();  // the creator removes the name, a child forked from it does not

  // A lock on byte `at` of the segment, among all processes that have it and all SharedMemory
  // objects of one process; the kernel drops it when its holder dies. False: another has it. A
  // child forked with the object shares its locks.
  bool try_lock(int at) const noexcept;
  void unlock(int at) const noexcept;

  // Takes the memory now: where it is touched later, a full /dev/shm would end the process. Throws.
  void reserve() const;

  // Its creator has gone.
  bool abandoned() const noexcept;

  // Who may open it: its user. Only root can give it away.
  unsigned user() const;
  void give_to(unsigned user) const;  // throws

  void* data() const noexcept { return data_; }
  size_t size() const noexcept { return size_; }
  const std::string& name() const noexcept { return name_; }

 private:
  SharedMemory(std::string name, int fd, bool owner, bool writable, size_t bytes);
  std::string name_;
  int fd_ = -1;
  int owner_ = 0;  // pid of the creator; 0 = attached. A fork of it owns nothing
  void* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace wp
