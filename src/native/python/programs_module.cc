// SPDX-License-Identifier: Apache-2.0
// Packet programs in the kernel, as an extension module of its own: it needs libbpf.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <cerrno>

#include "programs/kernel/attach.h"
#include "programs/kernel/builtin_objects.h"
#include "programs/kernel/chain.h"
#include "programs/kernel/dispatcher.h"
#include "programs/kernel/kernel_program.h"
#include "python/bindings.h"
#include "python/program_maps.h"

namespace wp::python {
namespace {

using programs::Fd;
using programs::KernelProgram;
using programs::XdpLink;

std::string text_of(nb::handle object) {
  const BytesView view(object);
  return {reinterpret_cast<const char*>(view.data()), view.size()};
}

nb::bytes bytes_of(const std::string& text) {
  return nb::bytes(text.data(), text.size());
}

void bind_kernel_program(nb::module_& m) {
  auto program =
      nb::class_<KernelProgram>(
          m, "KernelProgram",
          "An XDP program in the kernel with its maps, loaded from an object's bytes.\n"
          "entries: of maps, by name. rodata: bytes of its constants. reuse: descriptors of maps\n"
          "to share, by name. Raises with the verifier's log where the kernel refuses it.")
          .def(
              "__init__",
              [](KernelProgram* self, nb::object image, std::map<std::string, uint32_t> entries,
                 nb::object rodata, std::map<std::string, int> reuse, const std::string& program,
                 uint32_t offload_ifindex, bool shared_chain) {
                const BytesView view(image);
                new (self)
                    KernelProgram({view.data(), view.size()},
                                  {std::move(entries), rodata.is_none() ? "" : text_of(rodata),
                                   std::move(reuse), program, offload_ifindex, shared_chain});
              },
              nb::arg("image"), nb::arg("entries") = std::map<std::string, uint32_t>{},
              nb::arg("rodata").none() = nb::none(),
              nb::arg("reuse") = std::map<std::string, int>{}, nb::arg("program") = "",
              nb::arg("offload_ifindex") = 0, nb::arg("shared_chain") = false)
          .def_static(
              "by_id", [](uint32_t id) { return KernelProgram::by_id(id).release(); },
              nb::arg("id"), nb::rv_policy::take_ownership)
          .def_static(
              "pinned",
              [](const std::string& path) { return KernelProgram::pinned(path).release(); },
              nb::arg("path"), nb::rv_policy::take_ownership, "The program pinned there, or None.")
          .def_prop_ro("fd", &KernelProgram::fd)
          .def_prop_ro("id", &KernelProgram::id)
          .def_prop_ro("name", &KernelProgram::name)
          .def_prop_ro("tag", &KernelProgram::tag)
          .def_prop_ro("jited_bytes", &KernelProgram::jited_bytes)
          .def_prop_ro(
              "btf", [](const KernelProgram& p) { return bytes_of(programs::btf_of(p.btf_id())); },
              "Its type information, empty = none.")
          .def(
              "map_fd",
              [](const KernelProgram& p, const std::string& map) { return p.map(map).fd(); },
              nb::arg("map"))
          .def(
              "map_id",
              [](const KernelProgram& p, const std::string& map) { return p.map(map).id(); },
              nb::arg("map"))
          .def(
              "map_memory",
              [](const KernelProgram& p, const std::string& map) { return p.map(map).memory(); },
              nb::arg("map"), "Bytes that the kernel holds for it.")
          .def(
              "map_types",
              [](const KernelProgram& p, const std::string& map) {
                const auto& m = p.map(map);
                return nb::make_tuple(bytes_of(programs::btf_of(m.btf_id())), m.btf_key(),
                                      m.btf_value());
              },
              nb::arg("map"), "(type information, number of the key's type, of the value's)")
          .def(
              "run",
              [](const KernelProgram& p, nb::object frame, uint32_t repeat, uint32_t interface,
                 uint32_t queue) {
                const std::string bytes = text_of(frame);
                programs::RunResult result;
                {
                  const nb::gil_scoped_release release;
                  result = p.run(bytes, repeat, interface, queue);
                }
                return nb::make_tuple(result.verdict, bytes_of(result.frame), result.ns);
              },
              nb::arg("frame"), nb::arg("repeat") = 1, nb::arg("interface") = 0,
              nb::arg("queue") = 0, "BPF_PROG_RUN: (verdict, frame afterwards, mean ns).")
          .def(
              "read_ring",
              [](const KernelProgram& p, const std::string& map, size_t most) {
                nb::list out;
                for (const std::string& record : p.map(map).read_ring(most))
                  out.append(bytes_of(record));
                return out;
              },
              nb::arg("map"), nb::arg("most") = 1024, "Records written since, at most `most`.");
  bind_map_calls(program);
}

void bind_link(nb::module_& m) {
  nb::class_<XdpLink>(m, "XdpLink",
                      "A program on an interface while somebody holds the link or a pin of it.\n"
                      "mode: native, generic or offload.")
      .def(nb::init<int, uint32_t, std::string, std::string>(), nb::arg("program_fd"),
           nb::arg("ifindex"), nb::arg("interface"), nb::arg("mode"))
      .def_static(
          "by_id", [](uint32_t id) { return new XdpLink(XdpLink::by_id(id)); }, nb::arg("id"),
          nb::rv_policy::take_ownership)
      .def_static(
          "pinned",
          [](const std::string& path) -> XdpLink* {
            Fd fd = programs::get_pinned(path);
            return fd ? new XdpLink(std::move(fd)) : nullptr;
          },
          nb::arg("path"), nb::rv_policy::take_ownership, "The link pinned there, or None.")
      .def_prop_ro("fd", &XdpLink::fd)
      .def_prop_ro("id", &XdpLink::id)
      .def_prop_ro("ifindex", &XdpLink::ifindex, "0: detached, or the interface is gone.")
      .def_prop_ro("program_id", &XdpLink::program, "Of the program that it runs now.")
      .def("update", &XdpLink::update, nb::arg("program_fd"), "Replace the program at once.")
      .def("detach", &XdpLink::detach, "For whoever else holds it too.");
  m.def(
      "attached",
      [](uint32_t ifindex) {
        nb::list out;
        for (const programs::Attached& a : programs::attached_to(ifindex)) {
          nb::dict each;
          each["mode"] = a.mode;
          each["program_id"] = a.program;
          each["link_id"] = a.link;
          each["dispatcher_id"] = a.dispatcher;
          each["name"] = a.name;
          each["tag"] = a.tag;
          out.append(each);
        }
        return out;
      },
      nb::arg("ifindex"), "XDP programs on an interface, as the kernel says.");
}

void bind_chain(nb::module_& m) {
  using programs::Chain;
  nb::class_<Chain>(m, "Chain", "The root program on an interface and the slots behind it.")
      .def_static(
          "find", [](uint32_t ifindex) { return Chain::find(ifindex).release(); },
          nb::arg("ifindex"), nb::rv_policy::take_ownership,
          "The chain there, or None. Slots of processes that have died are emptied.")
      .def_prop_ro("link_fd", &Chain::link)
      .def_prop_ro("programs_fd", &Chain::programs)
      .def_prop_ro("root_id", &Chain::root)
      .def_prop_ro("shared", &Chain::shared, "The root is behind libxdp's dispatcher.")
      .def("slots",
           [](const Chain& chain) {
             nb::list out;
             for (const programs::SlotStatus& each : chain.slots()) {
               nb::dict row;
               row["slot"] = each.slot;
               row["program_id"] = each.program;
               row["name"] = each.name;
               row["pid"] = each.pid;
               row["alive"] = each.alive;
               out.append(row);
             }
             return out;
           })
      .def("put", &Chain::put, nb::arg("slot"), nb::arg("program_fd"), nb::arg("name"),
           nb::arg("stays"), nb::arg("force"))
      .def("remove", &Chain::remove, nb::arg("slot"), nb::arg("program_id"))
      .def("clean", &Chain::clean);
  m.def(
      "join_dispatcher",
      [](nb::object image, uint32_t ifindex, const std::string& interface) {
        const BytesView view(image);
        for (const programs::Attached& a : programs::attached_to(ifindex))
          if (a.name == programs::kDispatcher)
            return programs::join_dispatcher({view.data(), view.size()}, ifindex, interface, a);
        throw Error(ErrorKind::kBusy, "libxdp's dispatcher has just left " + interface,
                    "try again");
      },
      nb::arg("image"), nb::arg("ifindex"), nb::arg("interface"),
      "An object's program behind libxdp's dispatcher, until leave_dispatcher.");
  m.def("leave_dispatcher", &programs::leave_dispatcher, nb::arg("program_id"), nb::arg("ifindex"),
        nb::arg("mode"), "Take it out again.");
}

}  // namespace
}  // namespace wp::python

NB_MODULE(_programs, m) {
  using namespace wp::python;
  nb::set_leak_warnings(false);
  m.doc() = "Packet programs in the kernel. Import wirepath.programs instead.";
  bind_errors(m);
  bind_kernel_program(m);
  bind_link(m);
  bind_chain(m);
  m.def(
      "builtin_object",
      [](const std::string& name) -> nb::object {
        for (const wp::programs::BuiltinObject& each : wp::programs::builtin_objects())
          if (name == each.name) return nb::bytes(each.image.data(), each.image.size());
        return nb::none();
      },
      nb::arg("name"), "The eBPF object of a built-in program, or None.");
  m.def(
      "pin", [](int fd, const std::string& path) { wp::programs::pin(fd, path); }, nb::arg("fd"),
      nb::arg("path"), "Keep a program, map or link under a name in a bpf file system.");
  m.def(
      "possible_cpus", [] { return libbpf_num_possible_cpus(); },
      "Values that an entry of a per-CPU map has.");
  m.def(
      "update_element",
      [](int fd, nb::object key, nb::object value) {
        const BytesView k(key), v(value);
        return bpf_map_update_elem(fd, k.data(), v.data(), BPF_ANY) ? -errno : 0;
      },
      nb::arg("fd"), nb::arg("key"), nb::arg("value"),
      "0 or -errno; for maps whose values are written as one thing and read as another.");
}
