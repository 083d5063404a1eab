"""saved_model.py PROGRAM: what `fathom pretrain` saves, beside transformers: logits of held-out text, ids of the tokenizer, the next tokens, and the weights of an export on demand.

Prints a row a check (`ok` or `FAIL`), exit code 1 where one failed.
"""
import json
import pathlib
import subprocess
import sys
import tempfile
import warnings

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

ROOT = pathlib.Path(__file__).resolve().parents[2]
RECIPE = """
model: {depth: 2}
tokenizer: {vocab_size: 600}
data: {held_out: 0.05, sources: [{path: "%s", documents: paragraph}]}
train: {steps: 30, batch_size: 4, sequence_length: 64, dtype: fp32, seed: 5}
optimizer: {lr: 5.0e-3, warmup_steps: 5, average: 0.9}
"""


def main():
    program, failed = sys.argv[1], False
    warnings.filterwarnings("ignore")
    logging.set_verbosity_error()

    def run(*command):
        return subprocess.run([program, *map(str, command)], check=True, capture_output=True, text=True).stdout

    def row(check, ok, detail):
        nonlocal failed
        failed |= not ok
        print(f"{'ok  ' if ok else 'FAIL'} {'pretrained model':28} {check:34} {detail}", flush=True)

    with tempfile.TemporaryDirectory() as temporary:
        work = pathlib.Path(temporary)
        (work / "recipe.yaml").write_text(RECIPE % (ROOT / "docs/*.md"))
        run("pretrain", "--recipe", work / "recipe.yaml", "--out", work / "run", "--device", "cpu")
        run("pretrain", "--out", work / "run", "--export", work / "now", "--average", "--device", "cpu")
        text = (ROOT / "README.md").read_text()[:700]
        for name, folder in (("", work / "run/model"), (", the average", work / "now")):
            tokenizer = AutoTokenizer.from_pretrained(folder)
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            ours = json.loads(run("tokenize", "--model", folder, "--text", text, "--json"))["tokens"]
            row(f"tokenizer{name}", ids == ours, f"{len(ids)} ids")
            model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager", experts_implementation="eager").eval()
            run("score", "--model", folder, "--tokens", ",".join(map(str, ids)), "--logits-out", work / "logits.safetensors", "--dtype", "fp32", "--device", "cpu")
            with torch.no_grad():
                theirs = model(torch.tensor([ids]), use_cache=False).logits[0]
            difference = (load_file(work / "logits.safetensors")["logits"] - theirs).abs().max().item()
            row(f"logits{name}", difference <= 1e-4, f"max difference {difference:.2e}")
        prompt = ids[:20]
        greedy = json.loads(run("generate", "--model", work / "run/model", "--tokens", ",".join(map(str, prompt)), "--max-new-tokens", 16, "--temperature", 0, "--dtype", "fp32",
                                "--device", "cpu", "--ignore-eos", "--json"))["choices"][0]["tokens"]
        model = AutoModelForCausalLM.from_pretrained(work / "run/model", dtype=torch.float32).eval()
        theirs = model.generate(torch.tensor([prompt]), max_new_tokens=16, min_new_tokens=16, do_sample=False, eos_token_id=None, pad_token_id=0)[0, 20:].tolist()
        row("16 greedy tokens", greedy == theirs, f"{sum(a == b for a, b in zip(greedy, theirs))} equal")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
