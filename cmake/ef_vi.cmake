# Defines wirepath_ef_vi where Onload is installed, or sets WIREPATH_EF_VI_MISSING to what would
# have to be; with WIREPATH_EF_VI=SIM also wirepath_ef_vi_sim, the same sources over a simulator.
include(CheckCXXSourceCompiles)
set(WIREPATH_EF_VI_MISSING "")
file(GLOB ef_vi_sources CONFIGURE_DEPENDS src/native/backends/ef_vi/*.cc)
list(FILTER ef_vi_sources EXCLUDE REGEX "_test\\.cc$")

if(WIREPATH_EF_VI STREQUAL "OFF")
  set(WIREPATH_EF_VI_MISSING "off")
else()
  # efct_vi.h came with Onload 8.0, the first that knows X3.
  find_path(ONLOAD_INCLUDE etherfabric/efct_vi.h)
  find_library(ONLOAD_CIUL NAMES ciul1 ciul)
  set(missing "")
  if(NOT ONLOAD_INCLUDE)
    list(APPEND missing "etherfabric/vi.h")
  endif()
  if(NOT ONLOAD_CIUL)
    list(APPEND missing "libciul1")
  endif()
  list(JOIN missing " " WIREPATH_EF_VI_MISSING)
  if(missing AND WIREPATH_EF_VI STREQUAL "ON")
    message(FATAL_ERROR "the ef_vi backend needs Onload 8.0 or newer with its development files; "
                        "missing: ${WIREPATH_EF_VI_MISSING}")
  endif()
endif()

if(WIREPATH_EF_VI_MISSING STREQUAL "")  # "off" would read as false
  add_library(wirepath_ef_vi STATIC ${ef_vi_sources})
  target_include_directories(wirepath_ef_vi SYSTEM PUBLIC ${ONLOAD_INCLUDE})
  target_link_libraries(wirepath_ef_vi PUBLIC wirepath_core ${ONLOAD_CIUL})
  set(CMAKE_REQUIRED_INCLUDES ${ONLOAD_INCLUDE})
  check_cxx_source_compiles("
    #include <etherfabric/vi.h>
    int main() { return EF_FILTER_FLAG_REQUEST_WAKEUPS == 0; }" ONLOAD_REQUEST_WAKEUPS)
  unset(CMAKE_REQUIRED_INCLUDES)
  if(ONLOAD_REQUEST_WAKEUPS)
    target_compile_definitions(wirepath_ef_vi PRIVATE WP_EF_VI_REQUEST_WAKEUPS)
  endif()
endif()

if(WIREPATH_EF_VI STREQUAL "SIM")
  file(GLOB ef_vi_sim_sources CONFIGURE_DEPENDS tests/sim/ef_vi/*.cc)
  add_library(wirepath_ef_vi_sim STATIC ${ef_vi_sources} ${ef_vi_sim_sources})
  target_include_directories(wirepath_ef_vi_sim PUBLIC tests/sim/ef_vi)
  target_compile_definitions(wirepath_ef_vi_sim PUBLIC WP_EF_VI_SIMULATOR WP_EF_VI_REQUEST_WAKEUPS)
  target_link_libraries(wirepath_ef_vi_sim PUBLIC wirepath_core)
endif()
