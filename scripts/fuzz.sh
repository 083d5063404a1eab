#!/usr/bin/env bash
# fuzz.sh [RUNS] [TARGET...]: builds the fuzz targets (all) with libFuzzer and runs each for RUNS inputs (10^6), as many
# at a time as there are cores (FUZZ_JOBS). What was learned of a target stays in build-fuzz/corpus/NAME, its words in
# build-fuzz/logs/NAME; a crasher is kept as fuzz/corpus/NAME/crash-*, which `make test` replays.
set -euo pipefail
cd "$(dirname "$0")/.."
export RUNS=1000000
if [[ "${1:-}" =~ ^[0-9]+$ ]]; then RUNS=$1; shift; fi
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then for f in fuzz/*_fuzz.cc; do f=$(basename "$f" _fuzz.cc); targets+=("$f"); done; fi
for name in "${targets[@]}"; do
  [ -f fuzz/${name}_fuzz.cc ] || { echo "error: fuzz.sh: no fuzz target '$name'; there are:" fuzz/*_fuzz.cc >&2; exit 2; }
done
scripts/setup.sh --fuzz
scripts/build.sh fuzz "${targets[@]/#/fuzz_}"

export ASAN_OPTIONS=allocator_may_return_null=1:detect_odr_violation=0:quarantine_size_mb=16:malloc_context_size=8
run_target() {
  local name=$1 log=build-fuzz/logs/$1 seconds=$SECONDS
  mkdir -p build-fuzz/corpus/$name build-fuzz/logs
  # The folder of seeds is read, the one of what was learned is read and written.
  build-fuzz/fuzz_$name build-fuzz/corpus/$name fuzz/corpus/$name -runs=$RUNS -rss_limit_mb=4096 -malloc_limit_mb=2048 -timeout=20 \
    -artifact_prefix=fuzz/corpus/$name/ -print_final_stats=1 > $log 2>&1 ||
    { tail -40 $log; echo "$name: FAILED; its input is in fuzz/corpus/$name, its words are in $log"; return 1; }
  seconds=$((SECONDS - seconds))
  echo "$name: $(sed -n 's/^stat::number_of_executed_units: *//p' $log) inputs, $seconds s," \
    "$(grep -oE 'cov: [0-9]+' $log | tail -1 | cut -d' ' -f2) edges reached"
}
export -f run_target
if printf '%s\n' "${targets[@]}" | xargs -P ${FUZZ_JOBS:-$(nproc)} -I{} bash -c 'run_target {}'; then
  echo "every target ran $RUNS inputs"
else
  echo "a target failed" >&2; exit 1
fi
