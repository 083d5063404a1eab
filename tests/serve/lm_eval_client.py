#!/usr/bin/env python3
"""lm-eval's local-completions against `fathom serve` with the default model, on tasks of its own (lm_eval_tasks; nothing is fetched). One row a task.

usage: lm_eval_client.py PROGRAM

Of each task: lm-eval ends well and every question has an answer; of the facts, judged by log-probability, at least half are right (guessing: a quarter).
Run by a Python that has `lm_eval[api]`.
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

from running_server import RunningServer

TASKS = pathlib.Path(__file__).parent / "lm_eval_tasks"


def main():
    failed = 0
    with tempfile.TemporaryDirectory() as folder, RunningServer(sys.argv[1]) as server:
        arguments = f"model={server.model},base_url={server.url}/v1/completions,num_concurrent=4,max_retries=1"
        run = subprocess.run([pathlib.Path(sys.executable).parent / "lm_eval", "--model", "local-completions", "--model_args", arguments, "--tasks",
                              "fathom_facts,fathom_continue", "--include_path", str(TASKS), "--output_path", folder],
                             cwd=TASKS, env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": folder}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        files = list(pathlib.Path(folder).rglob("results_*.json"))
        answer = json.loads(files[0].read_text()) if files else {}
        for task, metric, least in (("fathom_facts", "acc,none", 0.5), ("fathom_continue", "exact_match,none", 0)):
            value, count = answer.get("results", {}).get(task, {}).get(metric), answer.get("n-samples", {}).get(task, {}).get("effective")
            good = run.returncode == 0 and value is not None and value >= least and count == 8
            failed += not good
            print(f"{'ok  ' if good else 'FAIL'} lm_eval {task}: {metric} {value} of {count} questions")
        if failed:
            print("     " + run.stdout[-3000:].replace("\n", "\n     "))
        code = server.stop()
    if code != 0:
        failed += 1
        print(f"FAIL lm_eval exit: {code}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
