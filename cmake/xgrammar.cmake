# xgrammar: grammars to masks of allowed tokens, compiled from the pinned source distribution that `make setup` leaves in the virtual environment.
# Only src/engine/grammar.cc includes its headers.
set(FATHOM_XGRAMMAR_DIR ${FATHOM_VENV}/xgrammar-0.1.32)
if(NOT EXISTS ${FATHOM_XGRAMMAR_DIR}/cpp)
  message(FATAL_ERROR "no xgrammar sources under ${FATHOM_VENV}: run `make setup` first")
endif()
set(xgrammar_sources)
foreach(name compiled_grammar earley_parser fsm fsm_builder grammar grammar_compiler grammar_functor grammar_matcher grammar_parser grammar_printer
        testing tokenizer_info)
  list(APPEND xgrammar_sources ${FATHOM_XGRAMMAR_DIR}/cpp/${name}.cc)
endforeach()
add_library(xgrammar STATIC ${xgrammar_sources} ${CMAKE_CURRENT_LIST_DIR}/xgrammar_left_out.cc)
target_include_directories(xgrammar SYSTEM PUBLIC ${FATHOM_XGRAMMAR_DIR}/include ${FATHOM_XGRAMMAR_DIR}/3rdparty/dlpack/include
                                           PRIVATE ${FATHOM_XGRAMMAR_DIR}/cpp ${FATHOM_XGRAMMAR_DIR}/3rdparty/picojson)
# Its errors and warnings come to functions of ours (engine/grammar_budget.cc) rather than to stderr.
target_compile_definitions(xgrammar PRIVATE XGRAMMAR_LOG_CUSTOMIZE=1 XGRAMMAR_ENABLE_CPPTRACE=0 XGRAMMAR_ENABLE_INTERNAL_CHECK=0)
target_compile_options(xgrammar PRIVATE -w -O1 -fno-sanitize=all)  # some of its constants have no definition, and are folded only without a sanitizer's checks
set_source_files_properties(${FATHOM_XGRAMMAR_DIR}/cpp/earley_parser.cc ${FATHOM_XGRAMMAR_DIR}/cpp/grammar_compiler.cc
                            ${FATHOM_XGRAMMAR_DIR}/cpp/grammar_matcher.cc PROPERTIES COMPILE_OPTIONS -O2)  # what a step waits for
# What it allocates goes through functions that count, so that a grammar from outside has an end to its time and memory.
add_custom_command(TARGET xgrammar POST_BUILD VERBATIM
  COMMAND ${CMAKE_OBJCOPY} --redefine-sym _Znwm=fathom_grammar_new --redefine-sym _ZdlPv=fathom_grammar_delete
          --redefine-sym _ZdlPvm=fathom_grammar_delete_sized $<TARGET_FILE:xgrammar>)
