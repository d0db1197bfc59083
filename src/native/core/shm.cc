// SPDX-License-Identifier: Apache-2.0
#include "core/shm.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "core/error.h"

namespace wp {
namespace {

// A process that looks for what others left holds the lock for a moment, or for as long as it is
// kept from running in it.
constexpr int kAttempts = 100;
constexpr useconds_t kPauseUs = 1000;

std::string path_of(const std::string& name) {
  return "/wirepath." + name;
}

void check_name(const std::string& name) {
  bool good = !name.empty() && name.size() <= 200;
  for (char c : name)
    good = good && (isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '_' || c == '-');
  if (!good)
    throw config_error("name", "\"" + name + "\"",
                       "1 to 200 letters, digits, dots, dashes or underscores");
}

Error sys_error(const std::string& what, int code) {
  const ErrorKind kind = code == EACCES || code == EPERM ? ErrorKind::kPermission : ErrorKind::kIo;
  return Error(kind, what + ": " + std::strerror(code));
}

// Takes the lock that says "its owner lives"; false where somebody has it, or where the file has
// lost its name meanwhile. Files are unlinked under this lock only, so that whoever got `true`
// holds the file that the name stands for.
bool lock_named(int fd) noexcept {
  struct stat st {};
  return flock(fd, LOCK_EX | LOCK_NB) == 0 && fstat(fd, &st) == 0 && st.st_nlink != 0;
}

int lock_byte(int fd, short type, int at) noexcept {
  struct flock lock {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = at;
  lock.l_len = 1;
  return fcntl(fd, F_OFD_SETLK, &lock);
}

}  // namespace

SharedMemory::SharedMemory(std::string name, int fd, bool owner, bool writable, size_t bytes)
    : name_(std::move(name)), fd_(fd), owner_(owner ? getpid() : 0), size_(bytes) {
  data_ = mmap(nullptr, bytes, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, 0);
  if (data_ == MAP_FAILED) {
    const int code = errno;
    if (owner && !name_.empty()) shm_unlink(path_of(name_).c_str());
    close(fd);
    throw sys_error("cannot map " + std::to_string(bytes) + " bytes of shared memory", code);
  }
}

SharedMemory::SharedMemory(SharedMemory&& other) noexcept
    : name_(std::move(other.name_)),
      fd_(std::exchange(other.fd_, -1)),
      owner_(std::exchange(other.owner_, 0)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

SharedMemory::~SharedMemory() {
  if (data_) munmap(data_, size_);
  if (owner_ == getpid() && !name_.empty()) shm_unlink(path_of(name_).c_str());
  if (fd_ >= 0) close(fd_);
}

void SharedMemory::reserve() const {
  if (const int code = posix_fallocate(fd_, 0, static_cast<off_t>(size_)))
    throw sys_error("cannot get " + std::to_string(size_) + " bytes of shared memory", code);
}

bool SharedMemory::abandoned() const noexcept {
  if (flock(fd_, LOCK_SH | LOCK_NB) != 0) return false;
  flock(fd_, LOCK_UN);
  return true;
}

unsigned SharedMemory::user() const {
  struct stat st {};
  return fstat(fd_, &st) == 0 ? st.st_uid : geteuid();
}

void SharedMemory::give_to(unsigned user) const {
  if (fchown(fd_, user, static_cast<gid_t>(-1)) != 0)
    throw sys_error("cannot give shared memory to user " + std::to_string(user), errno);
}

bool SharedMemory::try_lock(int at) const noexcept {
  return lock_byte(fd_, F_WRLCK, at) == 0 || (errno != EAGAIN && errno != EACCES);
}

void SharedMemory::unlock(int at) const noexcept {
  lock_byte(fd_, F_UNLCK, at);
}

SharedMemory SharedMemory::create(const std::string& name, size_t bytes) {
  int fd = -1;
  if (name.empty()) {
    fd = memfd_create("wirepath", MFD_CLOEXEC);
    if (fd < 0) throw sys_error("cannot create shared memory", errno);
  } else {
    check_name(name);
    // The owner holds a lock on the file for as long as it lives: a file without a lock was
    // left by a process that was killed, and may be replaced.
    for (int attempt = 0; attempt < kAttempts && fd < 0; attempt++) {
      if (attempt >= 4) ::usleep(kPauseUs);
      fd = shm_open(path_of(name).c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
      if (fd >= 0) {
        if (lock_named(fd)) break;
        close(std::exchange(fd, -1));  // somebody took it for abandoned before it was locked
        continue;
      }
      if (errno != EEXIST) throw sys_error("cannot create shared memory \"" + name + "\"", errno);
      const int old = shm_open(path_of(name).c_str(), O_RDWR | O_CLOEXEC, 0600);
      if (old < 0) continue;
      if (lock_named(old)) shm_unlink(path_of(name).c_str());
      close(old);
    }
    if (fd < 0)
      throw Error(ErrorKind::kBusy, "shared memory \"" + name + "\" belongs to a running process",
                  "choose another name, or stop that process: fuser /dev/shm/wirepath." + name);
  }
  if (ftruncate(fd, static_cast<off_t>(bytes)) != 0) {
    const int code = errno;
    if (!name.empty()) shm_unlink(path_of(name).c_str());
    close(fd);
    throw sys_error("cannot size shared memory to " + std::to_string(bytes) + " bytes", code);
  }
  return SharedMemory(name, fd, true, true, bytes);
}

SharedMemory SharedMemory::attach(const std::string& name, bool writable) {
  check_name(name);
  const int fd = shm_open(path_of(name).c_str(), (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC, 0600);
  if (fd < 0)
    throw errno == ENOENT
        ? Error(ErrorKind::kIo, "there is no shared memory named \"" + name + "\"",
                "see what there is: ls /dev/shm/wirepath.*")
        : sys_error("cannot open shared memory \"" + name + "\"", errno);
  struct stat st {};
  if (fstat(fd, &st) != 0 || st.st_size == 0) {
    close(fd);
    throw Error(ErrorKind::kIo, "shared memory \"" + name + "\" is empty");
  }
  return SharedMemory(name, fd, false, writable, static_cast<size_t>(st.st_size));
}

void SharedMemory::remove_abandoned() noexcept {
  DIR* dir = opendir("/dev/shm");
  if (!dir) return;
  while (const dirent* entry = readdir(dir)) {
    if (std::strncmp(entry->d_name, "wirepath.", 9) != 0) continue;
    const int fd = openat(dirfd(dir), entry->d_name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) continue;
    if (lock_named(fd)) unlinkat(dirfd(dir), entry->d_name, 0);
    close(fd);
  }
  closedir(dir);
}

}  // namespace wp
