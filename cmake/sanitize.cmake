# The sanitizers that everything is built with, as WSSS_FAST_SANITIZE says; a build whose CUDA kernels run on
# the host is there for AddressSanitizer.
if(WSSS_FAST_CUDA STREQUAL "HOST")
  set(WSSS_FAST_SANITIZE ADDRESS)
endif()
if(WSSS_FAST_SANITIZE STREQUAL "OFF")
  set(WSSS_FAST_SANITIZERS "")
elseif(WSSS_FAST_SANITIZE STREQUAL "ADDRESS")
  set(WSSS_FAST_SANITIZERS address,undefined)
elseif(WSSS_FAST_SANITIZE STREQUAL "THREAD")
  set(WSSS_FAST_SANITIZERS thread)
else()
  message(FATAL_ERROR "WSSS_FAST_SANITIZE: expected OFF, ADDRESS or THREAD, got ${WSSS_FAST_SANITIZE}")
endif()

if(WSSS_FAST_SANITIZERS)
  set(WSSS_FAST_OPTIMIZE -O1 -g)
  add_compile_options(-fsanitize=${WSSS_FAST_SANITIZERS} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  # GCC finds uninitialised variables by what its optimiser leaves, and is wrong where that is little: the
  # build without sanitizers has the warning, and Valgrind looks.
  add_compile_options($<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
  add_link_options(-fsanitize=${WSSS_FAST_SANITIZERS})
endif()
