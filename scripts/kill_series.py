"""kill_series.py [PROGRAM] [--kills 10] [--seed N]: crash safety, shown. A CPU run of `fathom pretrain` is killed with SIGKILL at random moments, resumed each time, and its
loss series is compared with that of an uninterrupted run, to the bit. After each kill every checkpoint there is must be whole.

Prints a row a check (`ok` or `FAIL`), exit code 1 where one failed. Needs nothing but the program and python3.
"""
import argparse
import json
import pathlib
import random
import struct
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
RECIPE = """
model: {depth: 2}
tokenizer: {vocab_size: 512}
data: {held_out: 0.05, fim: {rate: 0}, sources: [{path: "%s", documents: paragraph}]}
train: {steps: 120, batch_size: 4, microbatch_size: 2, sequence_length: 64, dtype: fp32, seed: 3}
optimizer: {lr: 3.0e-3, schedule: wsd, warmup_steps: 10, average: 0.99}
objective: {balance: sequence, bias_gamma: 1.0e-3}
checkpoint: {every: 4, keep_last: 3, keep_every: 40}
evaluate: {every: 30, rows: 4}
"""


def command(program, recipe, out, *more):
    return [str(program), "pretrain", "--recipe", str(recipe), "--out", str(out), "--device", "cpu", "--threads", "1", *more]


def series(out):
    keys = ("step", "loss", "mtp_loss", "grad_norm", "lr", "tokens", "eval_loss")
    return [tuple(json.loads(line, parse_float=str).get(key) for key in keys) for line in (out / "log.jsonl").read_text().splitlines()]


def broken_checkpoints(out):
    """Names of checkpoints that cannot be read, and how many there are (folders of other names are being written or removed)."""
    broken, folders = [], sorted((out / "checkpoints").glob("step-????????")) if (out / "checkpoints").exists() else []
    for folder in folders:
        try:
            state = json.loads((folder / "state.json").read_text())
            with open(folder / "state.safetensors", "rb") as file:
                header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
                end = file.tell() + max(entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__")
            if not (folder / "state.safetensors").stat().st_size == state["size"] == end:
                raise ValueError("size")
        except Exception as error:
            broken.append(f"{folder.name}: {error}")
    return broken, len(folders)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program", nargs="?", default=ROOT / "build/fathom")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 31))
    flags = parser.parse_args()
    chance, failed = random.Random(flags.seed), False
    with tempfile.TemporaryDirectory() as temporary:
        work = pathlib.Path(temporary)
        recipe = work / "recipe.yaml"
        recipe.write_text(RECIPE % (ROOT / "docs/*.md"))
        start = time.monotonic()
        subprocess.run(command(program := flags.program, recipe, work / "straight"), check=True, capture_output=True)
        whole, expected = time.monotonic() - start, series(work / "straight")
        broken, complaints, num_looked_at, num_runs, out, moments = [], [], 0, 1, work / "killed-1", []
        while True:
            run = subprocess.Popen(command(program, recipe, out, "--resume"), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            try:
                if len(moments) == flags.kills:
                    run.wait()
                else:
                    run.wait(timeout=chance.uniform(0.05, 0.5) * whole)
            except subprocess.TimeoutExpired:
                run.kill()
            complaints += [line for line in run.communicate()[1].splitlines() if line.strip()]
            found, count = broken_checkpoints(out)
            broken, num_looked_at = broken + found, num_looked_at + count
            if run.returncode == -9:
                last = series(out)[-1][0] if (out / "log.jsonl").exists() and (out / "log.jsonl").stat().st_size else 0
                moments.append(last)
                continue
            if run.returncode != 0:
                complaints.append(f"exit code {run.returncode}")
                break
            if series(out) != expected:
                complaints.append(f"run {num_runs}: the series differs")
            if len(moments) == flags.kills:
                break
            num_runs, out = num_runs + 1, work / f"killed-{num_runs + 1}"
        same_model = (out / "model/model.safetensors").exists() and (out / "model/model.safetensors").read_bytes() == (work / "straight/model/model.safetensors").read_bytes()
        rows = [("loss series of the resumed run", not complaints, "; ".join(complaints[:3]) or f"{len(expected)} steps equal to the bit after kill -9 at steps {moments}"),
                ("every checkpoint after each kill", not broken, "; ".join(broken[:3]) or f"{num_looked_at} looked at, all whole"),
                ("weights at the end", same_model, "equal to the bit" if same_model else "differ")]
        for name, ok, detail in rows:
            failed |= not ok
            print(f"{'ok  ' if ok else 'FAIL'} {'kill -9, seed ' + str(flags.seed):28} {name:34} {detail}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
