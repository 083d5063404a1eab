# A clean build reads LibTorch's headers, and instantiates what all files use of them, once for four files of a folder instead of once for each:
# half the time. So names that are local to a file must differ from its neighbours'. Off, like the precompiled headers, for fuzzing and
# under ThreadSanitizer, where each file stands alone.
option(FATHOM_UNITY "Compile a folder's files four at a time" ON)
function(fathom_unite target)
  if(FATHOM_UNITY)
    set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 4)
  endif()
endfunction()

# fathom_folder(NAME [OBJECT] DEPS ...): one library `fathom_NAME` from all .cc files of the folder.
# OBJECT keeps static registrations (operators); everything else is a static archive.
function(fathom_folder name)
  cmake_parse_arguments(ARG "OBJECT" "" "DEPS" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cc)
  list(FILTER sources EXCLUDE REGEX "/main[a-z_]*\\.cc$")
  if(NOT sources)  # headers only
    add_library(fathom_${name} INTERFACE)
    target_include_directories(fathom_${name} INTERFACE ${CMAKE_SOURCE_DIR}/src)
    target_link_libraries(fathom_${name} INTERFACE ${ARG_DEPS})
    return()
  endif()
  if(ARG_OBJECT)
    add_library(fathom_${name} OBJECT ${sources})
  else()
    add_library(fathom_${name} STATIC ${sources})
  endif()
  fathom_unite(fathom_${name})
  set_target_properties(fathom_${name} PROPERTIES OPTIMIZE_DEPENDENCIES ON)  # an archive waits for no other
  target_include_directories(fathom_${name} PUBLIC ${CMAKE_SOURCE_DIR}/src)
  target_link_libraries(fathom_${name} PUBLIC ${ARG_DEPS})
endfunction()

# Tests wait for the compiler more than for themselves.
if(NOT FATHOM_SANITIZE)
  set(FATHOM_TEST_OPTIONS -O1)
endif()

# fathom_test(NAME DEPS ...): one GoogleTest program `test_NAME` from all .cc files of the folder.
function(fathom_test name)
  cmake_parse_arguments(ARG "" "" "DEPS" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cc)
  if(NOT sources)
    return()
  endif()
  add_executable(test_${name} ${sources})
  fathom_unite(test_${name})
  target_include_directories(test_${name} PRIVATE ${CMAKE_SOURCE_DIR}/tests)
  target_compile_options(test_${name} PRIVATE ${FATHOM_TEST_OPTIONS})
  target_link_libraries(test_${name} PRIVATE ${ARG_DEPS} test_places GTest::gtest GTest::gtest_main GTest::gmock)
  add_test(NAME ${name} COMMAND test_${name} --gtest_brief=1)
endfunction()
