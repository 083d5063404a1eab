#!/usr/bin/env python3
"""Adds up GoogleTest's JSON reports: count_tests.py FOLDER CTEST_STATUS. Prints 'N passed, N failed'."""
import json
import pathlib
import sys

folder, status = pathlib.Path(sys.argv[1]), int(sys.argv[2])
passed = failed = skipped = 0
for path in sorted(folder.glob("*.json")):
    for suite in json.loads(path.read_text())["testsuites"]:
        for test in suite["testsuite"]:
            if test.get("result") == "SKIPPED":
                skipped += 1
            elif test.get("failures"):
                failed += 1
                print(f"FAILED {test['classname']}.{test['name']}")
                for failure in test["failures"][:3]:
                    print(*("    " + line[:300] for line in failure["failure"].splitlines()[:8]), sep="\n")
            else:
                passed += 1
if status != 0 and failed == 0:
    failed = 1  # a program that died, or a check that is no GoogleTest
print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
sys.exit(1 if failed or status or not passed else 0)
