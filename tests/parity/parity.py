"""`make parity`: this program beside transformers 5.17 on fresh random checkpoints of every architecture.

For each case of reference.py, with dimensions and weights drawn by a fresh seed (or --seed N), as float32 in one file and as bfloat16 in shards:
logits of 1, 17 and 70 tokens, the same through the cache, 24 greedy tokens, MTP logits, every parameter's gradient; FP8 blocks beside a plain
dequantisation; `fathom score`, `fathom generate`, and `fathom convert` read back by transformers. Prints a row a check and 'N passed, N failed'.
"""
import argparse
import json
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import warnings

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM
from transformers.utils import logging

from reference import CASES, make_case

ROOT = pathlib.Path(__file__).resolve().parents[2]
LOGITS, GRADIENTS = 1e-4, 1e-3


class Table:
    def __init__(self):
        self.passed = self.failed = 0

    def row(self, case, check, ok, detail=""):
        self.passed, self.failed = self.passed + bool(ok), self.failed + (not ok)
        print(f"{'ok  ' if ok else 'FAIL'} {case:28} {check:34} {detail}", flush=True)

    def close(self, case, check, ours, theirs, limit):
        if ours is None or ours.shape != theirs.shape:
            return self.row(case, check, False, f"shape {None if ours is None else tuple(ours.shape)}, expected {tuple(theirs.shape)}")
        difference = (ours - theirs).abs().max().item()
        self.row(case, check, difference <= limit, f"max difference {difference:.2e}")


def run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))[:200]}: exit {done.returncode}: {done.stderr.strip()[-400:]}")
    return done.stdout


def ids(tokens):
    return ",".join(str(int(t)) for t in tokens)


def load(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager", experts_implementation="eager").eval()


def same_greedy(golden, ours):
    theirs = golden["greedy_17"].tolist()
    if ours == theirs:
        return True, "24 equal"
    if len(ours) != len(theirs):
        return False, f"{len(ours)} tokens, expected {len(theirs)}"
    at = next(i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b)
    return False, f"token {at}: {ours[at]}, expected {theirs[at]}"


def check_probe(table, case, folder, golden, work):
    out = work / "probe.safetensors"
    lengths = (17, 70, 1)
    prompts = ";".join(ids(golden[f"tokens_{n}"]) for n in lengths)
    answer = json.loads(run(ROOT / "build/fathom_probe", "--model", folder, "--tokens", prompts, "--out", out, "--greedy", "24", "--grads", "2"))
    ours = load_file(out)
    for i, n in enumerate(lengths):
        table.close(case, f"logits, {n} tokens", ours.get(f"logits_{i}"), golden[f"logits_{n}"], LOGITS)
        if f"paged_{i}" in ours and not case.startswith("v32_ties"):  # a step breaks ties by a shorter row
            table.close(case, f"logits through the cache, {n}", ours[f"paged_{i}"], golden[f"logits_{n}"], LOGITS)
    table.row(case, "24 greedy tokens", *same_greedy(golden, answer["greedy"][0]))
    if "mtp_logits_17" in golden:
        table.close(case, "MTP logits", ours.get("mtp_logits_0"), golden["mtp_logits_17"], LOGITS)
    difference = abs(answer["loss"] - golden["loss"].item())
    table.row(case, "loss of a training step", difference <= 1e-5 * max(1, abs(answer["loss"])), f"difference {difference:.2e}")
    check_gradients(table, case, golden, ours)


def check_gradients(table, case, golden, ours):
    worst, worst_name, missing = 0.0, "", []
    for name, theirs in golden.items():
        if not name.startswith("grad."):
            continue
        if name not in ours:
            if "embed_tokens" not in name and "head" not in name:  # ties are stored once
                missing.append(name)
            continue
        size = max(theirs.abs().max().item(), 1e-6)
        error = (ours[name] - theirs).abs().max().item() / size
        if error > worst:
            worst, worst_name = error, name
    table.row(case, "gradient of every parameter", worst <= GRADIENTS and not missing, f"worst {worst:.2e} {worst_name} {missing[:1]}")


def check_program(table, case, folder, golden, work):
    fathom, out = ROOT / "build/fathom", work / "score.safetensors"
    tokens = ids(golden["tokens_17"])
    run(fathom, "score", "--model", folder, "--tokens", tokens, "--logits-out", out, "--dtype", "fp32", "--json")
    scored = load_file(out)
    table.close(case, "fathom score --logits-out", scored["logits"], golden["logits_17"], LOGITS)
    if "mtp_logits_17" in golden:
        table.close(case, "fathom score, mtp_logits", scored.get("mtp_logits"), golden["mtp_logits_17"], LOGITS)
    text = run(fathom, "generate", "--model", folder, "--tokens", tokens, "--max-new-tokens", "24", "--temperature", "0", "--dtype", "fp32", "--json")
    table.row(case, "fathom generate --temperature 0", *same_greedy(golden, json.loads(text)["choices"][0]["tokens"]))
    converted = work / "converted"
    shutil.rmtree(converted, ignore_errors=True)
    run(fathom, "convert", folder, converted, "--format", "hf", "--dtype", "fp32")
    with torch.no_grad():
        logits = load(converted)(golden["tokens_17"].long()[None], use_cache=False).logits[0]
    table.close(case, "fathom convert, read by transformers", logits, golden["logits_17"], LOGITS)


def quantize_blocks(folder, plain, rows, cols):
    """Turns the matrices of attention and feed-forward networks of `folder` into FP8 blocks; `plain` gets the same values dequantised."""
    weights = load_file(folder / "model.safetensors")
    dequantized = {}
    for name, w in list(weights.items()):
        dequantized[name] = w
        if w.ndim != 2 or any(part in name for part in ("embed_tokens", "head", "mlp.gate.weight", "norm", "eh_proj", "weights_proj")):
            continue
        N, K = w.shape
        scales = torch.empty(-(-N // rows), -(-K // cols))
        values, plain_w = torch.empty(N, K, dtype=torch.float8_e4m3fn), torch.empty(N, K)
        for i in range(scales.shape[0]):
            for j in range(scales.shape[1]):
                part = (slice(i * rows, (i + 1) * rows), slice(j * cols, (j + 1) * cols))
                scale = w[part].abs().max() / 448
                values[part] = (w[part] / scale).to(torch.float8_e4m3fn)
                scales[i, j] = scale
                plain_w[part] = values[part].float() * scale
        weights[name], weights[name + "_scale_inv"], dequantized[name] = values, scales, plain_w
    plain.mkdir()
    config = json.loads((folder / "config.json").read_text())
    (plain / "config.json").write_text(json.dumps(config))
    save_file(dequantized, plain / "model.safetensors", metadata={"format": "pt"})
    config["quantization_config"] = {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [rows, cols]}
    (folder / "config.json").write_text(json.dumps(config))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def check_fp8(table, name, work, seed, rows, cols, scale):
    case, folder, plain = f"{name} fp8 {rows}x{cols}", work / "fp8", work / "plain"
    shutil.rmtree(plain, ignore_errors=True)
    make_case(folder, name, seed, scale=scale, with_grads=False)
    golden = load_file(folder / "golden.safetensors")
    quantize_blocks(folder, plain, rows, cols)
    tokens = golden["tokens_17"]
    with torch.no_grad():
        expected = load(plain)(tokens.long()[None], use_cache=False).logits[0]
    limit = LOGITS * max(1.0, expected.abs().max().item())  # weights drawn `scale` times larger make larger logits
    for flags, check in (([], "expanded"), (["--keep-fp8"], "kept in FP8")):
        run(ROOT / "build/fathom_probe", "--model", folder, "--tokens", ids(tokens), "--out", work / "fp8.safetensors", *flags)
        ours = load_file(work / "fp8.safetensors")
        table.close(case, f"logits, {check}", ours["logits_0"], expected, limit)
        table.close(case, f"logits through the cache, {check}", ours["paged_0"], expected, limit)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 31))
    parser.add_argument("--case", action="append")
    flags = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(2)
    print(f"seed {flags.seed}")
    table = Table()
    with tempfile.TemporaryDirectory() as temporary:
        work = pathlib.Path(temporary)
        for i, name in enumerate(flags.case or CASES):
            for dtype, shard in ((torch.float32, None), (torch.bfloat16, None if name == "v3" else "40KB")):
                case = f"{name} {str(dtype)[6:]}{' sharded' if shard else ''}"
                try:
                    make_case(work / "model", name, flags.seed + i, shard=shard, dtype=dtype, with_grads=True)
                    golden = load_file(work / "model/golden.safetensors")
                    check_probe(table, case, work / "model", golden, work)
                    check_program(table, case, work / "model", golden, work)
                except Exception as error:  # one failed case never ends the run
                    table.row(case, "runs", False, f"{type(error).__name__}: {error}")
        for j, (name, rows, cols, scale) in enumerate((("v3_plain", 128, 128, 5), ("v32", 128, 128, 5), ("v2", 16, 24, 1))):
            try:
                check_fp8(table, name, work, flags.seed + 1000 + j, rows, cols, scale)
            except Exception as error:
                table.row(f"{name} fp8", "runs", False, f"{type(error).__name__}: {error}")
    print(f"{table.passed} passed, {table.failed} failed")
    return 1 if table.failed else 0


if __name__ == "__main__":
    sys.exit(main())
