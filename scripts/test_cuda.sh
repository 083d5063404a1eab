#!/usr/bin/env bash
# test_cuda.sh [BUILD_DIR [OUT_DIR]]: the tests that run on a GPU: operators, every architecture beside transformers' goldens, its decode step
# replayed from a CUDA graph; then compute-sanitizer's memcheck over a short subset. BUILD_DIR (default: build) holds the test programs and
# libfathom_cuda.so; it may have been built on another machine. Logs go to OUT_DIR (default: BUILD_DIR/cuda-results).
set -uo pipefail
cd "$(dirname "$0")/.."
build=$(realpath "${1:-build}")
out=${2:-$build/cuda-results}
mkdir -p "$out"
if [ ! -f "$build/libfathom_cuda.so" ]; then
  echo "error: $build/libfathom_cuda.so is not there: it is built where nvcc is found" >&2
  exit 2
fi
export FATHOM_TEST_DEVICE=cuda FATHOM_CUDA_LIB=$build/libfathom_cuda.so
failed=0
run() {  # run NAME COMMAND...: keeps the log, prints one line
  local name=$1 start=$SECONDS
  shift
  if timeout 570 "$@" >"$out/$name.log" 2>&1; then
    echo "passed  $name ($((SECONDS - start)) s): $(grep -E '^\[  PASSED  \]|ERROR SUMMARY' "$out/$name.log" | tail -1)"
  else
    failed=1
    echo "FAILED  $name ($((SECONDS - start)) s)"
    grep -E 'FAILED|Failure|error|ERROR' "$out/$name.log" | head -20
  fi
}
for program in ops parity; do
  [ -x "$build/test_$program" ] && run "$program" "$build/test_$program" --gtest_brief=1
done
sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2>/dev/null)
if [ -n "$sanitizer" ]; then
  run memcheck "$sanitizer" --tool memcheck --error-exitcode 9 "$build/test_ops" --gtest_brief=1 \
    --gtest_filter='CudaGraph.Replays*:LinearRows.Matches*:RmsNorm.*:Rope.*:Swiglu.*:Route.*:RouteTokens.*:MixExperts.*:StoreLatents.*:FusedShapes.Mla*:FusedShapes.Paged*'
else
  echo "skipped memcheck: compute-sanitizer is not installed"
fi
exit $failed
