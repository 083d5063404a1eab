"""Fathom beside llama.cpp on the CPU: the same file, the same threads, one run after the other.

  python benchmarks/llama_cpp.py [--model FILE.gguf] [--threads N] [--program build/fathom] [--rounds 3] [--json]

Runs under a Python that has llama-cpp-python (make bench sets up .venv-bench). The two take turns, so that what else the machine does
falls on both; the best round of each counts. Prefill is 512 random tokens at once; decode is one sequence that holds 512.
"""

import argparse
import glob
import json
import os
import pathlib
import random
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROMPT_TOKENS, NEW_TOKENS = 512, 64


def import_llama():
    sys.path.pop(0)  # this folder: the script has the package's name
    try:
        from llama_cpp import Llama
    except ImportError:
        for environment in (".venv-bench", ".venv"):
            sys.path += glob.glob(str(ROOT / environment / "lib/python3*/site-packages"))
        try:
            from llama_cpp import Llama
        except ImportError:
            sys.exit("error: llama-cpp-python is not installed: `scripts/setup.sh --bench` installs it")
    return Llama


def fathom(args, kind):
    command = [args.program, "bench", kind, "--model", args.model, "--threads", str(args.threads), "--prompt-tokens", str(PROMPT_TOKENS),
               "--new-tokens", str(NEW_TOKENS), "--device", "cpu", "--json"]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


def llama_cpp(llama):
    """(prefill, decode) in tokens a second."""
    tokens = [random.Random(1).randrange(1000, 20000) for _ in range(PROMPT_TOKENS)]
    llama.reset()
    start = time.perf_counter()
    llama.eval(tokens)
    prefill = PROMPT_TOKENS / (time.perf_counter() - start)
    steps = []
    for i in range(NEW_TOKENS):
        start = time.perf_counter()
        llama.eval([tokens[i]])
        steps.append(time.perf_counter() - start)
    return prefill, 1 / sorted(steps)[len(steps) // 2]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--program", default=str(ROOT / "build/fathom"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if not args.model:
        name = json.loads(subprocess.run([args.program, "models", "--json"], stdout=subprocess.PIPE, check=True).stdout)["models"][0]
        args.model = name["path"] or sys.exit("error: the default model is not installed: `make setup` installs it")

    llama = import_llama()(args.model, n_ctx=1024, n_batch=512, n_ubatch=512, n_threads=args.threads, n_threads_batch=args.threads, verbose=False)
    ours, theirs = {"prefill": [], "decode": []}, {"prefill": [], "decode": []}
    limits = {}
    for _ in range(args.rounds):
        for kind in ("prefill", "decode"):
            result = fathom(args, kind)
            ours[kind].append(result["tokens_per_s"])
            limits[kind] = result["percent_of_matrix_rate" if kind == "prefill" else "percent_of_memory_bandwidth"]
        prefill, decode = llama_cpp(llama)
        theirs["prefill"].append(prefill)
        theirs["decode"].append(decode)
    rows = {kind: {"fathom": max(ours[kind]), "llama_cpp": max(theirs[kind]), "ratio": max(ours[kind]) / max(theirs[kind]),
                   "percent_of_limit": limits[kind]} for kind in ours}
    if args.json:
        print(json.dumps({"model": args.model, "threads": args.threads, **rows}))
        return
    print(f"{pathlib.Path(args.model).name}, {args.threads} threads, best of {args.rounds} rounds")
    for kind, row in rows.items():
        limit = "matrix rate" if kind == "prefill" else "read bandwidth"
        print(f"{kind:8} fathom {row['fathom']:8.1f} tok/s ({row['percent_of_limit']:.0f}% of the {limit})   "
              f"llama.cpp {row['llama_cpp']:8.1f} tok/s   ratio {row['ratio']:.2f}")


if __name__ == "__main__":
    main()
