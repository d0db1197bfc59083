# Packet programs: every src/programs/NAME.c is compiled natively into wirepath_core, and, where
# libbpf and clang are there, to eBPF as well, embedded in the module _programs. Included before
# and after the library is defined: this file only makes lists.
file(GLOB program_sources CONFIGURE_DEPENDS RELATIVE ${PROJECT_SOURCE_DIR} src/programs/*.c)
list(FILTER program_sources EXCLUDE REGEX "\\.bpf\\.c$")
file(GLOB program_headers CONFIGURE_DEPENDS src/programs/*.h)
set(program_names "")
set(program_declared "")
set(program_listed "")
foreach(source ${program_sources})
  get_filename_component(name ${source} NAME_WE)
  list(APPEND program_names ${name})
  string(APPEND program_declared "const wp_native_program* wp_program_${name}(void);\n")
  string(APPEND program_listed "      {\"${name}\", &wp_program_${name}},\n")
endforeach()
file(CONFIGURE OUTPUT builtin_programs.cc CONTENT [[
// Written by cmake/programs.cmake.
#include "programs/native_instance.h"
extern "C" {
@program_declared@}
namespace wp::programs {
const std::vector<Builtin>& builtin_programs() {
  static const std::vector<Builtin> all{
@program_listed@  };
  return all;
}
}  // namespace wp::programs
]] @ONLY)
file(GLOB native_program_sources CONFIGURE_DEPENDS src/native/programs/*.cc)
list(FILTER native_program_sources EXCLUDE REGEX "_test\\.cc$")
list(APPEND native_program_sources ${program_sources} ${PROJECT_BINARY_DIR}/builtin_programs.cc)
