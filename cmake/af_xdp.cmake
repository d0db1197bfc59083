# Defines wirepath_af_xdp, or sets WIREPATH_AF_XDP_MISSING to what would have to be installed.
set(WIREPATH_AF_XDP_MISSING "")
if(WIREPATH_AF_XDP STREQUAL "OFF")
  set(WIREPATH_AF_XDP_MISSING "off")
else()
  find_package(PkgConfig)
  if(PkgConfig_FOUND)
    pkg_check_modules(LIBXDP IMPORTED_TARGET libxdp>=1.2)
    pkg_check_modules(LIBBPF IMPORTED_TARGET libbpf>=1.0)
  endif()
  find_program(BPF_CLANG NAMES clang clang-19 clang-18 clang-17 clang-16 clang-15 clang-14)
  set(missing "")
  if(NOT LIBXDP_FOUND)
    list(APPEND missing libxdp-dev)
  endif()
  if(NOT LIBBPF_FOUND)
    list(APPEND missing libbpf-dev)
  endif()
  if(NOT BPF_CLANG)
    list(APPEND missing clang)
  endif()
  if(missing)
    list(JOIN missing " " missing)
    set(WIREPATH_AF_XDP_MISSING "${missing}")
    if(WIREPATH_AF_XDP STREQUAL "ON")
      message(FATAL_ERROR "the AF_XDP backend needs: apt install ${missing}")
    endif()
  endif()
endif()

if(WIREPATH_AF_XDP_MISSING STREQUAL "")  # "off" would read as false
  # Kernel headers of Debian and Ubuntu keep asm/ in the multiarch folder, which clang does not
  # look in when it compiles for the bpf target.
  execute_process(COMMAND ${CMAKE_C_COMPILER} -print-multiarch OUTPUT_VARIABLE multiarch
                  OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  set(steer_object ${CMAKE_BINARY_DIR}/steer.bpf.o)
  file(GLOB program_headers CONFIGURE_DEPENDS src/programs/*.h)
  add_custom_command(
    OUTPUT ${steer_object}
    COMMAND ${BPF_CLANG} -O2 -g -target bpf -Wall -Wextra -Werror
            -I/usr/include/${multiarch} -I${CMAKE_SOURCE_DIR}/src
            -c ${CMAKE_SOURCE_DIR}/src/programs/steer.bpf.c -o ${steer_object}
    DEPENDS src/programs/steer.bpf.c ${program_headers}
    COMMENT "Compiling steer.bpf.c to eBPF"
    VERBATIM)
  add_custom_target(steer_bpf DEPENDS ${steer_object})

  file(GLOB af_xdp_sources CONFIGURE_DEPENDS src/native/backends/af_xdp/*.cc)
  list(FILTER af_xdp_sources EXCLUDE REGEX "_test\\.cc$")
  add_library(wirepath_af_xdp STATIC ${af_xdp_sources})
  add_dependencies(wirepath_af_xdp steer_bpf)
  set_property(SOURCE ${af_xdp_sources} APPEND PROPERTY OBJECT_DEPENDS ${steer_object})
  target_compile_definitions(wirepath_af_xdp PRIVATE WP_STEER_BPF_OBJECT="${steer_object}")
  target_link_libraries(wirepath_af_xdp PUBLIC wirepath_core wirepath_chain PkgConfig::LIBXDP
                        PkgConfig::LIBBPF)
endif()
