# Precompiled headers: most of a unit's time is LibTorch's and GoogleTest's headers, read again for each file.
# One set for the folders on tensors, one for the operators and one for the verbs (their own flags), one for tests (built as programs).
# Off for fuzzing and under ThreadSanitizer, so that a header which a file forgot to include is found there.
option(FATHOM_PCH "Precompile LibTorch's and GoogleTest's headers" ON)
set(standard_headers <filesystem> <functional> <map> <memory> <optional> <string> <vector>)
set(FATHOM_TENSOR_HEADERS <ATen/core/Tensor.h> <fmt/format.h> <nlohmann/json.hpp> ${standard_headers})
set(FATHOM_OPERATOR_HEADERS ${FATHOM_TENSOR_HEADERS} <torch/library.h> <torch/csrc/autograd/custom_function.h> <ATen/Parallel.h>)
set(FATHOM_PROGRAM_HEADERS ${FATHOM_TENSOR_HEADERS} <CLI/CLI.hpp>)
set(FATHOM_TEST_HEADERS <gtest/gtest.h> <gmock/gmock.h> <ATen/ATen.h> <fmt/format.h> <nlohmann/json.hpp> ${standard_headers})

# fathom_precompile(TARGET HEADERS...): a set that TARGET alone uses.
function(fathom_precompile target)
  if(FATHOM_PCH)
    target_precompile_headers(${target} PRIVATE ${ARGN})
  endif()
endfunction()

# fathom_share_precompiled(OWNER TARGETS...): the targets use OWNER's set; their flags must be OWNER's (the compiler checks).
function(fathom_share_precompiled owner)
  if(FATHOM_PCH)
    foreach(target ${ARGN})
      target_precompile_headers(${target} REUSE_FROM ${owner})
    endforeach()
  endif()
endfunction()

# Owners have no other work, so that nobody waits for more than the headers.
if(FATHOM_PCH)
  file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/precompiled/empty.cc CONTENT "int main() {}\n")
  add_library(precompiled_tensor OBJECT ${CMAKE_BINARY_DIR}/precompiled/empty.cc)
  target_link_libraries(precompiled_tensor PRIVATE libtorch fmt::fmt nlohmann_json::nlohmann_json)
  target_precompile_headers(precompiled_tensor PRIVATE ${FATHOM_TENSOR_HEADERS})
  if(FATHOM_TESTS)
    add_executable(precompiled_test ${CMAKE_BINARY_DIR}/precompiled/empty.cc)
    target_link_libraries(precompiled_test PRIVATE libtorch fmt::fmt nlohmann_json::nlohmann_json OpenMP::OpenMP_CXX GTest::gtest GTest::gmock)
    target_compile_options(precompiled_test PRIVATE ${FATHOM_TEST_OPTIONS})
    target_precompile_headers(precompiled_test PRIVATE ${FATHOM_TEST_HEADERS})
  endif()
endif()
