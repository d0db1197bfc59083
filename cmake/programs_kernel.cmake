# Defines wirepath_programs (packet programs in the kernel), or sets WIREPATH_PROGRAMS_MISSING to
# what would have to be installed.
set(WIREPATH_PROGRAMS_MISSING "")
find_package(PkgConfig)
if(PkgConfig_FOUND)
  pkg_check_modules(LIBBPF IMPORTED_TARGET libbpf>=1.0)
  pkg_check_modules(LIBXDP IMPORTED_TARGET libxdp>=1.2)  # only to join its dispatcher
endif()
if(LIBBPF_FOUND)
  # What the AF_XDP backend shares with the programs: the chain of an interface.
  set(kernel_dir src/native/programs/kernel)
  add_library(wirepath_chain STATIC ${kernel_dir}/attach.cc ${kernel_dir}/chain.cc
              ${kernel_dir}/dispatcher.cc ${kernel_dir}/kernel_map.cc ${kernel_dir}/refusal.cc)
  target_link_libraries(wirepath_chain PUBLIC wirepath_core PkgConfig::LIBBPF)
  if(LIBXDP_FOUND)
    target_compile_definitions(wirepath_chain PRIVATE WP_HAVE_LIBXDP)
    target_link_libraries(wirepath_chain PUBLIC PkgConfig::LIBXDP)
  endif()
endif()
find_program(BPF_CLANG NAMES clang clang-19 clang-18 clang-17 clang-16 clang-15 clang-14)
set(missing "")
if(WIREPATH_PROGRAMS STREQUAL "OFF")
  set(missing off)
else()
  if(NOT LIBBPF_FOUND)
    list(APPEND missing libbpf-dev)
  endif()
  if(NOT BPF_CLANG)
    list(APPEND missing clang)
  endif()
endif()
list(JOIN missing " " WIREPATH_PROGRAMS_MISSING)
if(missing AND WIREPATH_PROGRAMS STREQUAL "ON")
  message(FATAL_ERROR "packet programs in the kernel need: apt install ${WIREPATH_PROGRAMS_MISSING}")
endif()

if(NOT missing)
  # asm/ of Debian and Ubuntu is in the multiarch folder, where clang for bpf does not look.
  execute_process(COMMAND ${CMAKE_C_COMPILER} -print-multiarch OUTPUT_VARIABLE multiarch
                  OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  set(program_objects "")
  set(object_assembly "")
  set(object_listed "")
  set(object_declared "")
  foreach(source ${program_sources} src/programs/root.bpf.c)
    get_filename_component(name ${source} NAME_WE)
    set(object ${PROJECT_BINARY_DIR}/programs/${name}.bpf.o)
    add_custom_command(
      OUTPUT ${object}
      COMMAND ${CMAKE_COMMAND} -E make_directory ${PROJECT_BINARY_DIR}/programs
      COMMAND ${BPF_CLANG} -O2 -g -target bpf -mcpu=v3 -Wall -Wextra -Werror
              -I/usr/include/${multiarch} -I${PROJECT_SOURCE_DIR}/src
              -c ${PROJECT_SOURCE_DIR}/${source} -o ${object}
      DEPENDS ${source} ${program_headers}
      COMMENT "Compiling ${source} to eBPF"
      VERBATIM)
    list(APPEND program_objects ${object})
    string(APPEND object_assembly
      "asm(\".pushsection .rodata\\n.balign 8\\nwp_object_${name}:\\n.incbin \\\"${object}\\\"\\n"
      "wp_object_${name}_end:\\n.byte 0\\n.popsection\\n\");\n")
    string(APPEND object_declared
      "__attribute__((visibility(\"hidden\"))) extern const unsigned char wp_object_${name}[], wp_object_${name}_end[];\n")
    string(APPEND object_listed "      {\"${name}\", {wp_object_${name}, wp_object_${name}_end}},\n")
  endforeach()
  file(CONFIGURE OUTPUT builtin_objects.cc CONTENT [[
// Written by cmake/programs_kernel.cmake.
#include "programs/kernel/builtin_objects.h"
// clang-format off
@object_assembly@extern "C" {
@object_declared@}
namespace wp::programs {
const std::vector<BuiltinObject>& builtin_objects() {
  static const std::vector<BuiltinObject> all{
@object_listed@  };
  return all;
}
}  // namespace wp::programs
]] @ONLY)
  add_library(wirepath_programs STATIC ${kernel_dir}/kernel_program.cc
              ${PROJECT_BINARY_DIR}/builtin_objects.cc)
  set_property(SOURCE ${PROJECT_BINARY_DIR}/builtin_objects.cc APPEND PROPERTY OBJECT_DEPENDS ${program_objects})
  target_link_libraries(wirepath_programs PUBLIC wirepath_chain)
endif()
