#!/usr/bin/env bash
# fuzz.sh [RUNS] [TARGET...]: builds every fuzz target with libFuzzer and runs it for RUNS inputs (10^6).
# New inputs go to build-fuzz/corpus/NAME; a crasher is kept as fuzz/corpus/NAME/crash-*, which `make test` replays.
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${1:-1000000}; [ $# -gt 0 ] && shift
for package in clang-14 libclang-rt-14-dev; do
  dpkg-query -W -f '${Status}' $package 2>/dev/null | grep -q 'install ok installed' && continue
  sudo=""; [ "$(id -u)" -ne 0 ] && sudo=sudo
  $sudo apt-get install -y -qq $package >&2
done
scripts/build.sh fuzz all
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then for f in fuzz/*_fuzz.cc; do f=$(basename "$f" _fuzz.cc); targets+=("$f"); done; fi
status=0
for name in "${targets[@]}"; do
  mkdir -p build-fuzz/corpus/$name fuzz/corpus/$name
  echo "== $name: $runs inputs" >&2
  ASAN_OPTIONS=allocator_may_return_null=1:detect_odr_violation=0 LSAN_OPTIONS=suppressions=$PWD/scripts/lsan.supp:print_suppressions=0 \
    build-fuzz/fuzz_$name build-fuzz/corpus/$name fuzz/corpus/$name -runs=$runs -rss_limit_mb=4096 -timeout=20 \
    -artifact_prefix=fuzz/corpus/$name/ -print_final_stats=1 -verbosity=0 2>&1 | tail -4 || status=1
done
[ $status -eq 0 ] && echo "every target ran $runs inputs" || { echo "a target failed: its input is in fuzz/corpus" >&2; exit 1; }
