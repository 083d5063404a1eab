#!/usr/bin/env python3
"""Greedy tokens of 64 prompts on the CPU and on a CUDA device, with a real model.

  same_tokens.py [--fathom build/fathom] [--model M] [--dtype fp32] [--prompts 64] [--new-tokens 32] [--gap 0.001]

Where an answer's tokens differ, the first that differs counts as a near-tie if the two best tokens' log-probabilities there are closer than
--gap nats on both devices (sums in another order turn such a choice either way); anything else is a failure. Exit code 1 on a failure.
"""
import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

STARTS = ["The capital of France is", "Once upon a time", "def fibonacci(n):", "Water boils at", "The three laws of motion", "My favourite book is",
          "To make bread you need", "In the year 1969", "A prime number is", "The ocean is", "Dear Sir or Madam,", "SELECT name FROM",
          "Der Himmel ist", "La vie est", "1, 1, 2, 3, 5, 8,", "Photosynthesis is the process"]
ENDS = ["", " because", "\n\n- ", " (see below):"]


def generate(args, device, prompt):
    command = [args.fathom, "generate", "--device", device, "--dtype", args.dtype, "--prompt", prompt, "--max-new-tokens", str(args.new_tokens),
               "--temperature", "0", "--ignore-eos", "--logprobs", "2", "--json", "--threads", "2"]
    if args.model:
        command += ["--model", args.model]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"error: {' '.join(command)}: {done.stderr.strip()}")
    choice = json.loads(done.stdout)["choices"][0]
    return choice["tokens"], choice["logprobs"]


def gap(logprobs, position):
    best = sorted((top["logprob"] for top in logprobs[position]["top"]), reverse=True)
    return best[0] - best[1]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--fathom", default="build/fathom")
    parser.add_argument("--model", default="")
    parser.add_argument("--dtype", default="fp32")
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--new-tokens", type=int, default=32)
    parser.add_argument("--gap", type=float, default=1e-3)
    args = parser.parse_args()
    prompts = [start + end for end in ENDS for start in STARTS][:args.prompts]
    with ThreadPoolExecutor(max(1, (os.cpu_count() or 2) // 2)) as pool:
        cpu = list(pool.map(lambda p: generate(args, "cpu", p), prompts))
    with ThreadPoolExecutor(8) as pool:
        cuda = list(pool.map(lambda p: generate(args, "cuda", p), prompts))
    same = ties = failed = 0
    for prompt, (tokens, logprobs), (other, other_logprobs) in zip(prompts, cpu, cuda):
        position = next((i for i, (a, b) in enumerate(zip(tokens, other)) if a != b), None)
        if position is None:
            same += 1
            continue
        widest = max(gap(logprobs, position), gap(other_logprobs, position))
        ties += widest < args.gap
        failed += widest >= args.gap
        print(f"{prompt!r}: token {position} is {tokens[position]} and {other[position]}, the two best {widest:.5f} nats apart")
    print(f"{len(prompts)} prompts of {args.new_tokens} tokens, {args.dtype}: {same} the same, {ties} near-ties under {args.gap}, {failed} others")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
