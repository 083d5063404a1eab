#!/usr/bin/env bash
# test.sh BUILD_DIR: runs every test program through ctest and closes with the count of all checks that ran.
set -uo pipefail
cd "$(dirname "$0")/.."
dir=$1
results=$PWD/$dir/test-results
rm -rf "$results"; mkdir -p "$results"
export GTEST_OUTPUT="json:$results/"
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=1:detect_odr_violation=0}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-halt_on_error=1:print_stacktrace=1}
ctest --test-dir "$dir" --output-on-failure --no-tests=error --timeout 1500
status=$?
python3 scripts/count_tests.py "$results" $status
