# The CUDA kernels, as WSSS_FAST_CUDA says: by nvcc, or by the host's compiler to be tested on the host.
file(GLOB WSSS_FAST_KERNELS CONFIGURE_DEPENDS
  ${CMAKE_CURRENT_SOURCE_DIR}/csrc/common/cuda/*.cu
  ${CMAKE_CURRENT_SOURCE_DIR}/csrc/ops/cuda/*.cu)
set(WSSS_FAST_SHIM_KERNELS ${CMAKE_CURRENT_SOURCE_DIR}/csrc/testing/shim_kernels.cu)

if(WSSS_FAST_CUDA STREQUAL "HOST")
  # The standard library stands in for CUB.
  list(FILTER WSSS_FAST_KERNELS EXCLUDE REGEX "/device_wide\\.cu$")
  file(GLOB WSSS_FAST_SHIM_SOURCES CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/csrc/testing/*.cpp)
  list(APPEND WSSS_FAST_KERNELS ${WSSS_FAST_SHIM_KERNELS})
  set_source_files_properties(${WSSS_FAST_KERNELS} PROPERTIES
    LANGUAGE CXX COMPILE_OPTIONS "-x;c++" COMPILE_DEFINITIONS WSSS_FAST_ISA=cuda)
  # What runs between a kernel's threads is fast: that is most of the time of such a test.
  set_source_files_properties(${CMAKE_CURRENT_SOURCE_DIR}/csrc/testing/threads_on_host.cpp PROPERTIES
    COMPILE_OPTIONS "-O3;-fno-sanitize=all")
  target_sources(wsss_fast_core PRIVATE ${WSSS_FAST_KERNELS} ${WSSS_FAST_SHIM_SOURCES})
  target_compile_definitions(wsss_fast_core PUBLIC WSSS_FAST_CUDA WSSS_FAST_CUDA_ON_HOST)
  return()
endif()
if(WSSS_FAST_CUDA STREQUAL "OFF")
  return()
endif()

include(CheckLanguage)
check_language(CUDA)
if(NOT CMAKE_CUDA_COMPILER)
  if(WSSS_FAST_CUDA STREQUAL "ON")
    message(FATAL_ERROR "WSSS_FAST_CUDA=ON: no nvcc was found that works with this compiler. Put it on "
                        "PATH, name it in the environment variable CUDACXX, or build without CUDA "
                        "(WSSS_FAST_CUDA=OFF)")
  endif()
  message(STATUS "wsss_fast: no nvcc was found that works; the CPU's kernels alone are built")
  return()
endif()

# Which devices the kernels are built for, unless the user says it: each generation from Turing on, by
# its first one, whose code the others of it run (86 and 89 that of 80), and for what comes later the
# last one's PTX. Before the language is enabled, which has its own default.
if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
  if(DEFINED ENV{CUDAARCHS})
    set(CMAKE_CUDA_ARCHITECTURES "$ENV{CUDAARCHS}")  # CMake before 3.20 does not look there
  else()
    execute_process(COMMAND ${CMAKE_CUDA_COMPILER} --list-gpu-arch OUTPUT_VARIABLE WSSS_FAST_KNOWN)
    foreach(arch IN ITEMS 75 80 90 100 120)
      if(WSSS_FAST_KNOWN MATCHES "compute_${arch}[^0-9a-z]")
        list(APPEND CMAKE_CUDA_ARCHITECTURES ${arch}-real)
        set(WSSS_FAST_LAST_ARCHITECTURE ${arch})
      endif()
    endforeach()
    list(APPEND CMAKE_CUDA_ARCHITECTURES ${WSSS_FAST_LAST_ARCHITECTURE}-virtual)
  endif()
endif()
enable_language(CUDA)
set(CMAKE_CUDA_STANDARD 17)
set(CMAKE_CUDA_STANDARD_REQUIRED ON)
set(CMAKE_CUDA_EXTENSIONS OFF)
set(CMAKE_CUDA_VISIBILITY_PRESET hidden)

# As on the CPU: no fused multiply-add, so that both give the same bits, and the same warnings (but
# pedantic ones: nvcc's own output has extensions of the language).
set(WSSS_FAST_CUDA_FLAGS -O3 --fmad=false)
if(CMAKE_CXX_COMPILER_ID MATCHES "GNU|Clang")
  list(APPEND WSSS_FAST_CUDA_FLAGS
    -Xcompiler=-Wall,-Wextra,-Wshadow,-Wconversion,-Wno-sign-conversion,-ffp-contract=off)
  if(WSSS_FAST_WERROR)
    list(APPEND WSSS_FAST_CUDA_FLAGS -Werror=all-warnings -Xcompiler=-Werror)
  endif()
  # Ours, and not those of the CUDA runtime that torch brings: the names are the same.
  target_link_options(wsss_fast_core PUBLIC LINKER:--exclude-libs,ALL)
endif()

# Static libraries, of which one may need the other: by them CMake knows to link the CUDA runtime, the
# static one unless it is told otherwise.
function(wsss_fast_add_kernels name)
  add_library(${name} STATIC ${ARGN})
  target_link_libraries(${name} PRIVATE wsss_fast_core)
  target_compile_definitions(${name} PRIVATE WSSS_FAST_ISA=cuda)
  target_compile_options(${name} PRIVATE ${WSSS_FAST_CUDA_FLAGS})
  # They compile without the core being built first.
  set_target_properties(${name} PROPERTIES OPTIMIZE_DEPENDENCIES ON)
endfunction()

wsss_fast_add_kernels(wsss_fast_kernels ${WSSS_FAST_KERNELS})
target_link_libraries(wsss_fast_core PUBLIC wsss_fast_kernels)
target_compile_definitions(wsss_fast_core PUBLIC WSSS_FAST_CUDA)

# Not in the package: that they compile is worth knowing (`make cuda-all`).
wsss_fast_add_kernels(wsss_fast_shim_kernels ${WSSS_FAST_SHIM_KERNELS})
set_target_properties(wsss_fast_shim_kernels PROPERTIES EXCLUDE_FROM_ALL ON)
