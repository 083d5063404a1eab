#!/usr/bin/env bash
# Speed on the CPU beside llama.cpp and beside this machine's limits: same file, same threads, same run.
set -euo pipefail
cd "$(dirname "$0")/.."
exec .venv-bench/bin/python benchmarks/llama_cpp.py "$@"
