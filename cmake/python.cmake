# The extension modules: _core with everything that needs nothing but libc, and one module per
# backend that needs a foreign library.
find_package(Python 3.11 REQUIRED COMPONENTS Interpreter Development.Module)
execute_process(COMMAND "${Python_EXECUTABLE}" -m nanobind --cmake_dir
                OUTPUT_STRIP_TRAILING_WHITESPACE OUTPUT_VARIABLE nanobind_ROOT)
find_package(nanobind CONFIG REQUIRED)

file(GLOB binding_sources CONFIGURE_DEPENDS src/native/python/*.cc)
list(FILTER binding_sources EXCLUDE REGEX "_module\\.cc$")
# NOMINSIZE: nanobind would compile for size, and headers() would take ten times as long.
nanobind_add_module(_core NB_STATIC LTO NOMINSIZE ${binding_sources} src/native/python/core_module.cc)
target_link_libraries(_core PRIVATE wirepath_core)
target_compile_definitions(_core PRIVATE
  WIREPATH_VERSION="${SKBUILD_PROJECT_VERSION}"
  WIREPATH_AF_XDP_MISSING="${WIREPATH_AF_XDP_MISSING}"
  WIREPATH_EF_VI_MISSING="${WIREPATH_EF_VI_MISSING}"
  WIREPATH_DPDK_MISSING="${WIREPATH_DPDK_MISSING}"
  WIREPATH_PROGRAMS_MISSING="${WIREPATH_PROGRAMS_MISSING}")
install(TARGETS _core LIBRARY DESTINATION wirepath)

if(TARGET wirepath_af_xdp)
  nanobind_add_module(_af_xdp NB_STATIC NOMINSIZE src/native/python/af_xdp_module.cc)
  target_link_libraries(_af_xdp PRIVATE wirepath_af_xdp)
  install(TARGETS _af_xdp LIBRARY DESTINATION wirepath)
endif()

if(TARGET wirepath_programs)
  nanobind_add_module(_programs NB_STATIC NOMINSIZE src/native/python/programs_module.cc
                      src/native/python/support.cc)
  target_link_libraries(_programs PRIVATE wirepath_programs)
  install(TARGETS _programs LIBRARY DESTINATION wirepath)
endif()

foreach(name ef_vi ef_vi_sim)
  if(TARGET wirepath_${name})
    nanobind_add_module(_${name} NB_STATIC NOMINSIZE src/native/python/ef_vi_module.cc)
    target_compile_definitions(_${name} PRIVATE WP_MODULE=_${name})
    target_link_libraries(_${name} PRIVATE wirepath_${name})
    install(TARGETS _${name} LIBRARY DESTINATION wirepath)
  endif()
endforeach()

if(TARGET wirepath_dpdk)
  nanobind_add_module(_dpdk NB_STATIC NOMINSIZE src/native/python/dpdk_module.cc)
  target_link_libraries(_dpdk PRIVATE wirepath_dpdk)
  install(TARGETS _dpdk LIBRARY DESTINATION wirepath)
endif()

install(FILES src/native/core/batch.h src/native/core/record.h src/programs/program.h
        src/programs/chain_shared.h src/programs/program_bpf.h src/programs/program_native.h src/programs/native_map.h
        src/programs/native_map_write.h src/programs/native_program.h
        DESTINATION wirepath/include/wirepath)
