"""Compares `fathom tokenizer train` with BpeTrainer of Hugging Face's `tokenizers` on the same texts: vocabulary and merges to the letter, and that
transformers loads the folder and gives the ids that `fathom tokenize` gives.

  python tests/text/compare_bpe_trainer.py [--program build/fathom] [--seed 1] [--data FILE.jsonl --vocab-size N]

Without --data random texts of several kinds are made. A row a case: `ok` or `FAIL`.
"""

import argparse
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import time

import bpe_goldens


def compare(program, name, texts, family, vocab_size, min_frequency, folder):
    data = folder / f"{name}.jsonl"
    data.write_text("".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts))
    out = folder / f"{name}-tok"
    special = bpe_goldens.SPECIAL
    done = subprocess.run([program, "tokenizer", "train", "--data", str(data), "--vocab-size", str(vocab_size), "--min-frequency", str(min_frequency), "--out", str(out),
                           "--pre-tokenizer", family, "--special-tokens", *special, "--json"], stdout=subprocess.PIPE, check=True)
    ours = json.loads((out / "tokenizer.json").read_text())
    start = time.time()
    tokens, merges = bpe_goldens.train(texts, ours["pre_tokenizer"], vocab_size, min_frequency, special)
    seconds = time.time() - start
    our_tokens = [text for text, _ in sorted(ours["model"]["vocab"].items(), key=lambda item: item[1])]
    problems = []
    if our_tokens != tokens:
        first = next((i for i, (a, b) in enumerate(zip(our_tokens, tokens)) if a != b), min(len(our_tokens), len(tokens)))
        problems.append(f"token {first}: {our_tokens[first:first + 1]} and {tokens[first:first + 1]} of {len(our_tokens)} and {len(tokens)}")
    if ours["model"]["merges"] != merges:
        first = next((i for i, (a, b) in enumerate(zip(ours["model"]["merges"], merges)) if a != b), min(len(merges), len(ours["model"]["merges"])))
        problems.append(f"merge {first}: {ours['model']['merges'][first:first + 1]} and {merges[first:first + 1]}")

    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(out)
    sample = texts[:50]
    lines = "".join(json.dumps({"text": text}) + "\n" for text in sample)
    ids = subprocess.run([program, "tokenize", "--tokenizer", str(out), "--jsonl"], input=lines.encode(), stdout=subprocess.PIPE, check=True).stdout.decode()
    for text, line in zip(sample, ids.split("\n")):
        if json.loads(line)["tokens"] != tokenizer(text, add_special_tokens=False)["input_ids"]:
            problems.append(f"transformers gives other ids for {text[:60]!r}")
            break
    if (tokenizer.bos_token, tokenizer.eos_token) != (special[0], special[1]):
        problems.append(f"transformers reads BOS {tokenizer.bos_token} and EOS {tokenizer.eos_token}")
    report = json.loads(done.stdout)
    times = f"fathom {report['count_s'] + report['merge_s']:.1f} s, tokenizers {seconds:.1f} s"
    print(f"{'FAIL' if problems else 'ok'}  bpe trainer {name}: {len(merges)} merges, {sum(len(t.encode()) for t in texts) / 1e6:.1f} MB; {times}"
          + "".join("; " + p for p in problems), flush=True)
    return not problems


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", default="build/fathom")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--data")
    parser.add_argument("--vocab-size", type=int, default=8000)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    good = True
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        if args.data:
            texts = [json.loads(line)["text"] for line in open(args.data)]
            return 0 if compare(args.program, "file", texts, "deepseek-v3", args.vocab_size, 0, folder) else 1
        for kind in ("runs", "code", "words"):
            for family in ("deepseek-v3", "llama-bpe", "gpt-2"):
                texts = [bpe_goldens.random_text(rng, kind) for _ in range(rng.randint(20, 200))]
                good &= compare(args.program, f"{kind}-{family}", texts, family, rng.randint(270, 900), rng.choice([0, 0, 2]), folder)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
