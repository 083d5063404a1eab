#!/usr/bin/env bash
# Builds and runs the program as on a machine that has no CUDA toolkit: no nvcc on PATH, the small CPU set of
# LibTorch in an environment of its own, and no libfathom_cuda.so beside the program.
set -euo pipefail
cd "$(dirname "$0")/.."
path=""
IFS=: read -ra folders <<< "$PATH"
for folder in "${folders[@]}"; do [ -x "$folder/nvcc" ] || path+="${path:+:}$folder"; done
export PATH=$path
unset CUDACXX CUDA_PATH CUDA_HOME
if command -v nvcc >/dev/null; then echo "error: nvcc is still found at $(command -v nvcc)" >&2; exit 1; fi
scripts/setup.sh --venv .venv-cpu
rm -rf build-cpu
FATHOM_CMAKE_ARGS="-DFATHOM_VENV=$PWD/.venv-cpu -DFATHOM_CUDA=ON -DFATHOM_TESTS=OFF" scripts/build.sh cpu-release fathom
if ls build-cpu/libfathom_cuda.so >/dev/null 2>&1; then echo "error: a CUDA backend was built" >&2; exit 1; fi
build-cpu/fathom --version
build-cpu/fathom generate --prompt "The capital of France is" --max-new-tokens 8 --temperature 0
