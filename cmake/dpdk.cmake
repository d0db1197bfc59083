# Defines wirepath_dpdk, or sets WIREPATH_DPDK_MISSING to what would have to be installed.
set(WIREPATH_DPDK_MISSING "")
if(WIREPATH_DPDK STREQUAL "OFF")
  set(WIREPATH_DPDK_MISSING "off")
else()
  find_package(PkgConfig)
  if(PkgConfig_FOUND)
    # Shared libraries: DPDK's drivers are plugins, which find their symbols there.
    pkg_check_modules(LIBDPDK IMPORTED_TARGET libdpdk>=22.11)
  endif()
  if(NOT LIBDPDK_FOUND)
    set(WIREPATH_DPDK_MISSING "libdpdk-dev")
    if(WIREPATH_DPDK STREQUAL "ON")
      message(FATAL_ERROR "the DPDK backend needs: apt install libdpdk-dev")
    endif()
  endif()
endif()

if(WIREPATH_DPDK_MISSING STREQUAL "")  # "off" would read as false
  file(GLOB dpdk_sources CONFIGURE_DEPENDS src/native/backends/dpdk/*.cc)
  list(FILTER dpdk_sources EXCLUDE REGEX "_test\\.cc$")
  add_library(wirepath_dpdk STATIC ${dpdk_sources})
  # Private: its compiler flags (an instruction set, a forced include) are for what includes it.
  target_link_libraries(wirepath_dpdk PUBLIC wirepath_core PRIVATE PkgConfig::LIBDPDK)
  # Lcore numbers for threads of ours and adjusted ring sizes carry this mark.
  target_compile_definitions(wirepath_dpdk PRIVATE ALLOW_EXPERIMENTAL_API)
endif()
