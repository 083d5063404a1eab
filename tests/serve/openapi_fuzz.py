#!/usr/bin/env python3
"""schemathesis over /openapi.json: whatever the description allows (and what it does not) is sent, and no answer may be a 5xx. One row.

usage: openapi_fuzz.py PROGRAM [--examples 20] [--seed 1]
"""
import argparse
import pathlib
import re
import subprocess
import sys
import tempfile

from running_server import RunningServer


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--examples", type=int, default=20, help="of each endpoint")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, RunningServer(args.program, "--max-model-len", 64, "--memory-fraction", 0.02, "--sessions", f"{folder}/sessions.db") as server:
        run = subprocess.run([pathlib.Path(sys.executable).parent / "schemathesis", "run", f"{server.url}/openapi.json", "--checks", "not_a_server_error", "--mode", "all",
                              "--max-examples", str(args.examples), "--seed", str(args.seed), "--request-timeout", "600", "--workers", "4", "--no-color",
                              "--suppress-health-check", "all"],
                             cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        code = server.stop()
    generated = re.search(r"(\d+) generated", run.stdout)
    good = run.returncode == 0 and code == 0 and generated
    print(f"{'ok  ' if good else 'FAIL'} openapi_fuzz: {generated[1] if generated else 0} requests, schemathesis ended with {run.returncode}, the server with {code}")
    if not good:
        print("\n".join("     " + line[:300] for line in run.stdout.splitlines()))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
