#!/usr/bin/env bash
# The live comparison with transformers; arguments go to tests/parity/parity.py (--seed N, --case NAME).
set -euo pipefail
cd "$(dirname "$0")/.."
exec .venv-test/bin/python tests/parity/parity.py "$@"
