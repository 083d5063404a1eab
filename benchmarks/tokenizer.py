"""Fathom's tokenizer beside Hugging Face's `tokenizers`, one thread, on the same text.

  python benchmarks/tokenizer.py --tokenizer DIR [--program build/fathom] [--megabytes 10] FILE...

DIR holds tokenizer.json. The text is the files' bytes one after the other, repeated or cut to the size asked for. Hugging Face's
library gets the text whole and as lines in a batch; the better of both counts.
"""

import argparse
import json
import os
import pathlib
import subprocess
import tempfile
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"

from tokenizers import Tokenizer  # noqa: E402


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--program", default="build/fathom")
    parser.add_argument("--megabytes", type=float, default=10)
    parser.add_argument("files", nargs="+")
    args = parser.parse_args()

    size = int(args.megabytes * 1e6)
    data = b"".join(pathlib.Path(f).read_bytes() for f in args.files)
    text = (data * (size // len(data) + 1))[:size].decode(errors="ignore")
    num_bytes = len(text.encode())
    with tempfile.NamedTemporaryFile(suffix=".txt") as file:
        file.write(text.encode())
        file.flush()
        done = subprocess.run(
            [args.program, "bench", "tokenizer", "--model", args.tokenizer, "--file", file.name, "--threads", "1", "--json"],
            stdout=subprocess.PIPE, check=True)
        ours = json.loads(done.stdout)

    reference = Tokenizer.from_file(args.tokenizer + "/tokenizer.json")
    start = time.perf_counter()
    num_tokens = len(reference.encode(text, add_special_tokens=False).ids)
    whole = time.perf_counter() - start
    start = time.perf_counter()
    reference.encode_batch_fast(text.splitlines(keepends=True), add_special_tokens=False)
    lines = time.perf_counter() - start
    theirs = num_bytes / 1e6 / min(whole, lines)
    if ours["num_tokens"] != num_tokens:
        raise SystemExit(f"fathom gives {ours['num_tokens']} tokens, tokenizers {num_tokens}")
    print(f"{num_bytes / 1e6:.1f} MB, {num_tokens} tokens, 1 thread")
    print(f"fathom      {ours['mb_per_s']:8.1f} MB/s")
    print(f"tokenizers  {theirs:8.1f} MB/s (whole {num_bytes / 1e6 / whole:.1f}, lines {num_bytes / 1e6 / lines:.1f})")
    print(f"ratio       {ours['mb_per_s'] / theirs:8.1f}")


if __name__ == "__main__":
    main()
