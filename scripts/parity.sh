#!/usr/bin/env bash
# The live comparisons: the models beside transformers on fresh random checkpoints, converted files beside transformers, tokenizers and gguf,
# random texts beside tokenizers, a trained model beside transformers, a run that is killed ten times, random templates beside jinja2, the server beside OpenAI's and Anthropic's own clients,
# and (where `scripts/setup.sh --eval` was run) lm-eval, its page in Chromium. Arguments go to tests/parity/parity.py (--seed N, --case NAME), which then
# runs alone. Closes with 'N passed, N failed' over all of them.
set -uo pipefail
cd "$(dirname "$0")/.."
python=.venv-test/bin/python
if [ $# -gt 0 ]; then exec $python tests/parity/parity.py "$@"; fi

passed=0 failed=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT
count() {  # count STATUS: adds the rows of $log that say ok or FAIL; a program that died without a row counts as one failure
  local ok bad
  ok=$(grep -cE '^ok ' "$log"); bad=$(grep -cE '^FAIL' "$log")
  if [ "$1" -ne 0 ] && [ "$bad" -eq 0 ]; then bad=1; fi
  passed=$((passed + ok)) failed=$((failed + bad))
}
$python tests/parity/parity.py | tee "$log"; count "${PIPESTATUS[0]}"
$python tests/parity/checkpoint_parity.py build/fathom | tee "$log"; count "${PIPESTATUS[0]}"
$python tests/text/compare_tokenizers.py --program build/fathom --texts 500 --seed "$RANDOM" | tee "$log"; count "${PIPESTATUS[0]}"
$python tests/text/compare_bpe_trainer.py --program build/fathom --seed "$RANDOM" | tee "$log"; count "${PIPESTATUS[0]}"
$python tests/serve/openai_client.py build/fathom | tee "$log"; count "${PIPESTATUS[0]}"
$python tests/serve/anthropic_client.py build/fathom | tee "$log"; count "${PIPESTATUS[0]}"
$python tests/serve/idle_streams.py build/fathom | tee "$log"; count "${PIPESTATUS[0]}"
if [ -x .venv-eval/bin/lm_eval ]; then .venv-eval/bin/python tests/serve/lm_eval_client.py build/fathom | tee "$log"; count "${PIPESTATUS[0]}"; fi
$python tests/train/saved_model.py build/fathom | tee "$log"; count "${PIPESTATUS[0]}"
python3 scripts/kill_series.py build/fathom | tee "$log"; count "${PIPESTATUS[0]}"
$python tests/serve/deploy_test.py build/fathom | tee "$log"; count "${PIPESTATUS[0]}"
if command -v chromium >/dev/null; then $python tests/serve/page_test.py build/fathom | tee "$log"; count "${PIPESTATUS[0]}"; fi
$python tests/text/compare_jinja.py build/test_text 3000 1 | tee "$log"; count "${PIPESTATUS[0]}"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
