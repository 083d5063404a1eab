#!/usr/bin/env bash
# build.sh PRESET TARGET...: configures once (again when the environment changed) and builds, saying little.
set -euo pipefail
cd "$(dirname "$0")/.."
preset=$1; shift
case $preset in
  release) dir=build ;; cpu-release) dir=build-cpu ;; cuda-release) dir=build-cuda ;;
  debug-asan) dir=build-asan ;; tsan) dir=build-tsan ;; fuzz) dir=build-fuzz ;;
  *) echo "error: build.sh: unknown preset $preset" >&2; exit 2 ;;
esac
export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=1
extra=(${FATHOM_CMAKE_ARGS:-})
if [ ! -f $dir/build.ninja ] || [ "$(cat .venv/.stamp 2>/dev/null) ${extra[*]:-}" != "$(cat $dir/.venv-stamp 2>/dev/null)" ]; then
  cmake --preset "$preset" "${extra[@]}" > $dir.configure.log 2>&1 || { cat $dir.configure.log >&2; rm -f $dir.configure.log; exit 1; }
  mv $dir.configure.log $dir/configure.log
  echo "$(cat .venv/.stamp 2>/dev/null) ${extra[*]:-}" > $dir/.venv-stamp
fi
if [ -t 2 ]; then ninja -C $dir "$@" >&2; else
  log=$dir/build.log
  ninja -C $dir "$@" > $log 2>&1 || { grep -E -A12 'FAILED|error' $log | head -80 >&2; exit 1; }
fi
