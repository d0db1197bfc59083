// SPDX-License-Identifier: Apache-2.0
// Errors of the control plane. Opening and configuring throw; once packets flow
// nothing does (data counts). Every message says what was wrong, and `mend` says
// what to do about it.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>

namespace wp {

enum class ErrorKind {
  kConfig,       // a field has an unusable value
  kUnavailable,  // the backend cannot be used on this machine or in this build
  kPermission,   // a capability is missing
  kBusy,         // somebody else holds the device, queue or name
  kUnsupported,  // the backend says no to this operation (see capabilities)
  kIo,           // the kernel or a device refused
  kReleased,     // a batch or port was used after its end
};

// Default visibility: thrown in one extension module, caught in another.
class __attribute__((visibility("default"))) Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& what, std::string mend = {})
      : std::runtime_error(mend.empty() ? what : what + " (" + mend + ")"),
        kind_(kind),
        mend_(std::move(mend)) {}

  ErrorKind kind() const noexcept { return kind_; }
  const std::string& mend() const noexcept { return mend_; }

 private:
  ErrorKind kind_;
  std::string mend_;
};

// "field: value is …; must be …": the one shape of every configuration error.
inline Error config_error(const std::string& field, const std::string& value,
                          const std::string& must) {
  return Error(ErrorKind::kConfig, field + " = " + value + " is not usable: it must be " + must);
}

}  // namespace wp
