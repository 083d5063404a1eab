#!/usr/bin/env bash
# `make train`: a code-completion model of about 5M parameters from the Python standard library's own sources, trained on the CPU, and judged on 200 functions of modules that
# it has not seen. A run that was stopped goes on where it was. RUN names its folder.
set -euo pipefail
cd "$(dirname "$0")/.."
run=${RUN:-runs/code-5m}
[ -f build/code-corpus/functions.jsonl ] || python3 benchmarks/code/python_corpus.py build/code-corpus
mkdir -p "$(dirname "$run")"
start=$SECONDS
build/fathom pretrain --recipe recipes/code-5m.yaml --out "$run" --device cpu --resume "$@"
echo "trained in $((SECONDS - start)) s"
python3 benchmarks/code/judge.py "$run/model" build/code-corpus --json "$run/judged.json"
build/fathom generate --model "$run/model" --device cpu --prompt $'def read_lines(path):\n' --max-new-tokens 64
