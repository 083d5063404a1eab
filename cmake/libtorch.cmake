# LibTorch from the pinned PyPI wheel in .venv, as one imported target `libtorch`.
# find_package(Torch) is not used: it fails on a machine without a CUDA toolkit although
# libtorch_cpu itself needs only libcudart and libcupti.
set(FATHOM_VENV ${CMAKE_SOURCE_DIR}/.venv CACHE PATH "Virtual environment that holds the torch wheel")
file(GLOB torch_dirs ${FATHOM_VENV}/lib/python3*/site-packages/torch)
if(NOT torch_dirs)
  message(FATAL_ERROR "no torch wheel under ${FATHOM_VENV}: run `make setup` first")
endif()
list(GET torch_dirs 0 FATHOM_TORCH_DIR)
get_filename_component(FATHOM_TORCH_DIR ${FATHOM_TORCH_DIR} REALPATH)
get_filename_component(site_packages ${FATHOM_TORCH_DIR} DIRECTORY)
set(FATHOM_SITE_PACKAGES ${site_packages})
set(FATHOM_NVIDIA_LIB ${site_packages}/nvidia/cu13/lib)

add_library(libtorch SHARED IMPORTED GLOBAL)
set_target_properties(libtorch PROPERTIES
  IMPORTED_LOCATION ${FATHOM_TORCH_DIR}/lib/libtorch_cpu.so
  INTERFACE_LINK_LIBRARIES ${FATHOM_TORCH_DIR}/lib/libc10.so)
# The wheel carries headers of its own fmt, older or newer than the system's: -idirafter lets the system's win.
target_compile_options(libtorch INTERFACE
  "SHELL:-idirafter ${FATHOM_TORCH_DIR}/include" "SHELL:-idirafter ${FATHOM_TORCH_DIR}/include/torch/csrc/api/include")
target_compile_definitions(libtorch INTERFACE AT_PER_OPERATOR_HEADERS)
target_link_options(libtorch INTERFACE -Wl,-rpath-link,${FATHOM_NVIDIA_LIB} -Wl,--allow-shlib-undefined)
list(APPEND CMAKE_BUILD_RPATH ${FATHOM_TORCH_DIR}/lib ${FATHOM_NVIDIA_LIB})
