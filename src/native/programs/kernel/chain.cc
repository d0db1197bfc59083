// SPDX-License-Identifier: Apache-2.0
#include "programs/kernel/chain.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>

#include "core/error.h"
#include "programs/chain_shared.h"
#include "programs/kernel/attach.h"
#include "programs/kernel/refusal.h"

namespace wp::programs {
namespace {

constexpr uint32_t kSlots = WP_SLOTS, kChainSize = WP_CHAIN_SIZE;

// Processes change a chain one after the other.
class Turn {
 public:
  Turn() {
    ::mkdir("/run/wirepath", 0755);
    fd_ = Fd(::open("/run/wirepath/chain.lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (!fd_) throw refused("cannot open /run/wirepath/chain.lock", errno);
    while (::flock(fd_.get(), LOCK_EX) != 0 && errno == EINTR) {
    }
  }

 private:
  Fd fd_;
};

// Clock ticks after boot at which a process started, 0 = there is none.
uint64_t start_of(uint32_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string text;
  if (!std::getline(file, text)) return 0;
  size_t at = text.rfind(')');  // the name before it may hold anything
  if (at == std::string::npos) return 0;
  for (int field = 2; field < 22 && at != std::string::npos; field++) at = text.find(' ', at + 1);
  return at == std::string::npos ? 0 : std::strtoull(text.c_str() + at + 1, nullptr, 10);
}

bool alive(const wp_slot_note& note) {
  return note.pid == 0 || start_of(note.pid) == note.pid_start;
}

wp_slot_note note_of(int notes, uint32_t slot) {
  wp_slot_note note{};
  if (bpf_map_lookup_elem(notes, &slot, &note)) throw refused("cannot read the chain", errno);
  return note;
}

void write_note(int notes, uint32_t slot, const wp_slot_note& note) {
  if (bpf_map_update_elem(notes, &slot, &note, BPF_ANY))
    throw refused("cannot write the chain", errno);
}

}  // namespace

Chain::Chain(Fd link, Fd programs, Fd notes, uint32_t root, bool shared)
    : link_(std::move(link)),
      programs_(std::move(programs)),
      notes_(std::move(notes)),
      root_(root),
      shared_(shared) {}

std::unique_ptr<Chain> Chain::find(uint32_t ifindex) {
  for (const Attached& there : attached_to(ifindex)) {
    if (there.name != "wirepath_root" || there.link == 0) continue;
    const Fd program(bpf_prog_get_fd_by_id(there.program));
    if (!program) throw refused("the root program cannot be taken hold of", errno);
    std::array<uint32_t, 16> ids{};
    bpf_prog_info info{};
    info.nr_map_ids = ids.size();
    info.map_ids = reinterpret_cast<uint64_t>(ids.data());
    uint32_t length = sizeof info;
    if (bpf_obj_get_info_by_fd(program.get(), &info, &length))
      throw refused("the kernel does not name the root program's maps", errno);
    Fd programs, notes;
    for (uint32_t i = 0; i < info.nr_map_ids && i < ids.size(); i++) {
      Fd map(bpf_map_get_fd_by_id(ids[i]));
      bpf_map_info about{};
      length = sizeof about;
      if (!map || bpf_obj_get_info_by_fd(map.get(), &about, &length)) continue;
      if (std::string(about.name) == "wp_chain")
        programs = std::move(map);
      else if (std::string(about.name) == "wp_notes" && about.value_size == sizeof(wp_slot_note))
        notes = std::move(map);
    }
    if (!programs || !notes)
      throw Error(ErrorKind::kUnsupported,
                  "the chain on interface " + std::to_string(ifindex) +
                      " is of another version of wirepath",
                  "end the process that made it, then attach again");
    std::unique_ptr<Chain> chain(new Chain(XdpLink::by_id(there.link), std::move(programs),
                                           std::move(notes), there.program, there.dispatcher != 0));
    chain->clean();
    return chain;
  }
  return nullptr;
}

std::vector<SlotStatus> Chain::slots() const {
  std::vector<SlotStatus> out;
  for (uint32_t slot = 0; slot < kChainSize; slot++) {
    const wp_slot_note note = note_of(notes_.get(), slot);
    if (!note.program) continue;
    out.push_back({slot, note.program, std::string(note.name, strnlen(note.name, sizeof note.name)),
                   note.pid, alive(note)});
  }
  return out;
}

// Each slot holds the first program at or behind it. Written from the back, so that the one entry
// by which a change takes effect, right behind the previous program, is the last.
void Chain::rebuild(uint32_t upto) const {
  Fd next;
  for (uint32_t i = kSlots; i-- > 0;) {
    if (const uint32_t id = note_of(notes_.get(), i).program) {
      Fd fd(bpf_prog_get_fd_by_id(id));
      if (fd) next = std::move(fd);
    }
    if (i > upto) continue;
    const int fd = next.get();
    if (next ? bpf_map_update_elem(programs_.get(), &i, &fd, BPF_ANY)
             : bpf_map_delete_elem(programs_.get(), &i) && errno != ENOENT)
      throw refused("cannot change slot " + std::to_string(i) + " of the chain", errno);
  }
}

void Chain::put(uint32_t slot, int program, const std::string& name, bool stays, bool force) {
  if (slot >= kChainSize)
    throw config_error("slot", std::to_string(slot), "below " + std::to_string(kChainSize));
  const Turn turn;
  const wp_slot_note old = note_of(notes_.get(), slot);
  const auto self = static_cast<uint32_t>(getpid());
  if (old.program && !force && old.pid != 0 && old.pid != self && alive(old))
    throw Error(ErrorKind::kBusy,
                "slot " + std::to_string(slot) + " of the chain has program \"" +
                    std::string(old.name, strnlen(old.name, sizeof old.name)) + "\" of process " +
                    std::to_string(old.pid),
                "end that process, or take it out: wirepath program detach");
  bpf_prog_info info{};
  uint32_t length = sizeof info;
  if (bpf_obj_get_info_by_fd(program, &info, &length))
    throw refused("the kernel does not describe the program", errno);
  wp_slot_note note{};
  note.program = info.id;
  note.pid = stays ? 0 : self;
  note.pid_start = stays ? 0 : start_of(self);
  strncpy(note.name, name.c_str(), sizeof note.name - 1);
  if (slot >= kSlots) {  // an exit tap: one entry, nothing behind it
    if (bpf_map_update_elem(programs_.get(), &slot, &program, BPF_ANY))
      throw refused("cannot change slot " + std::to_string(slot) + " of the chain", errno);
    write_note(notes_.get(), slot, note);
    return;
  }
  // Try the slot itself first: a program that the array does not take must change nothing.
  if (bpf_map_update_elem(programs_.get(), &slot, &program, BPF_ANY))
    throw refused("the chain does not take program \"" + name + "\"", errno);
  write_note(notes_.get(), slot, note);
  rebuild(slot);
}

void Chain::remove(uint32_t slot, uint32_t program) {
  const Turn turn;
  if (slot >= kChainSize || note_of(notes_.get(), slot).program != program) return;
  // The program keeps a number only while somebody holds it: take it out of the array first.
  const Fd keep(bpf_prog_get_fd_by_id(program));
  write_note(notes_.get(), slot, {});
  if (slot < kSlots)
    rebuild(slot);
  else
    bpf_map_delete_elem(programs_.get(), &slot);
}

void Chain::clean() {
  for (const SlotStatus& each : slots())
    if (!each.alive) remove(each.slot, each.program);
}

}  // namespace wp::programs
