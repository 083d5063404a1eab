"""`fathom serve` beside llama.cpp's server: the same file, threads, requests and client, one server after the other, each of them alone.

  python benchmarks/llama_server.py [--model FILE.gguf] [--threads N] [--concurrency 16] [--requests 128] [--rounds 1] [--work DIR] [--json]

The first run builds llama-server in DIR (build/llama-server) from vendor/llama.cpp in the source distribution of llama-cpp-python==0.3.36,
tuned for this machine's processor (minutes). The client is `fathom bench serve --url`: N at once, prompts and answers of lognormal lengths
(median 100, sigma 1, 4 to 1024, seed 0). Each round starts both servers afresh; the ratios are of the medians.
"""

import argparse
import json
import os
import pathlib
import signal
import socket
import statistics
import subprocess
import sys
import tarfile
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
SOURCE = "llama-cpp-python==0.3.36"
CONTEXT = 2112  # of a sequence: the longest prompt and the longest answer, and a page


def build_llama_server(work, jobs):
    program = work / "build/bin/llama-server"
    if program.exists():
        return program
    work.mkdir(parents=True, exist_ok=True)
    archives = list(work.glob("llama_cpp_python-*.tar.gz"))
    if not archives:
        subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", "llama-cpp-python", SOURCE, "-d", str(work)], check=True)
        archives = list(work.glob("llama_cpp_python-*.tar.gz"))
    with tarfile.open(archives[0]) as archive:
        archive.extractall(work)
    source = next(work.glob("llama_cpp_python-*/vendor/llama.cpp"))
    options = ["-DCMAKE_BUILD_TYPE=Release", "-DGGML_NATIVE=ON", "-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_EXAMPLES=OFF", "-DLLAMA_BUILD_UI=OFF",
               "-DLLAMA_USE_PREBUILT_UI=OFF", "-DLLAMA_OPENSSL=OFF", "-DLLAMA_BUILD_APP=OFF"]
    subprocess.run(["cmake", "-G", "Ninja", "-S", str(source), "-B", str(work / "build"), *options], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["cmake", "--build", str(work / "build"), "--target", "llama-server", "-j", str(jobs)], check=True, stdout=subprocess.DEVNULL)
    return program


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(url, process, limit_s=120):
    end = time.monotonic() + limit_s
    while time.monotonic() < end and process.poll() is None:
        try:
            urllib.request.urlopen(url + "/health", timeout=2).read()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    sys.exit(f"error: no server at {url}")


def load(args, command):
    """The load's result on the server that `command` starts."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with open(os.devnull, "w") as nothing:
        server = subprocess.Popen([*command, "--port", str(port)], stdout=nothing, stderr=nothing)
        try:
            wait_for(url, server)
            client = [args.program, "bench", "serve", "--url", url, "--requests", str(args.requests), "--concurrency", str(args.concurrency), "--json"]
            return json.loads(subprocess.run(client, stdout=subprocess.PIPE, check=True).stdout)
        finally:
            server.send_signal(signal.SIGTERM)
            try:
                server.wait(60)
            except subprocess.TimeoutExpired:
                server.kill()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--requests", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--program", default=str(ROOT / "build/fathom"))
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / "build/llama-server")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="of the build")
    parser.add_argument("--build-only", action="store_true")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    llama_server = build_llama_server(args.work, args.jobs)
    if args.build_only:
        return
    if not args.model:
        name = json.loads(subprocess.run([args.program, "models", "--json"], stdout=subprocess.PIPE, check=True).stdout)["models"][0]
        args.model = name["path"] or sys.exit("error: the default model is not installed: `make setup` installs it")

    threads, n = str(args.threads), str(args.concurrency)
    commands = {
        "fathom": [args.program, "serve", "--model", args.model, "--threads", threads, "--max-num-seqs", n, "--access-log", "off"],
        "llama-server": [str(llama_server), "-m", args.model, "-t", threads, "-tb", threads, "-np", n, "-cb", "-c", str(args.concurrency * CONTEXT),
                         "--host", "127.0.0.1"],
    }
    rounds = {name: [] for name in commands}
    for _ in range(args.rounds):
        for name, command in commands.items():
            rounds[name].append(load(args, command))
    rows = {}
    for name, results in rounds.items():
        rows[name] = {"tokens_per_s": statistics.median(r["tokens_per_s"] for r in results),
                      "ttft_ms": {p: statistics.median(r["ttft_ms"][p] for r in results) for p in ("p50", "p95", "p99")},
                      "itl_ms": {p: statistics.median(r["itl_ms"][p] for r in results) for p in ("p50", "p95", "p99")},
                      "prompt_tokens": results[0]["prompt_tokens"], "new_tokens": results[0]["new_tokens"], "failed": sum(r["failed"] for r in results)}
    ours, theirs = rows["fathom"], rows["llama-server"]
    ratios = {"tokens_per_s": ours["tokens_per_s"] / theirs["tokens_per_s"], "p95_ttft": theirs["ttft_ms"]["p95"] / ours["ttft_ms"]["p95"]}
    if args.json:
        print(json.dumps({"model": args.model, "threads": args.threads, "concurrency": args.concurrency, "requests": args.requests, "rounds": args.rounds,
                          **rows, "ratio": ratios}))
        return
    print(f"{pathlib.Path(args.model).name}, {args.threads} threads: {args.requests} requests, {args.concurrency} at once, {args.rounds} rounds")
    for name, row in rows.items():
        print(f"{name:13} {row['tokens_per_s']:8.1f} tok/s   first token p50 {row['ttft_ms']['p50']:7.0f} ms, p95 {row['ttft_ms']['p95']:7.0f} ms   "
              f"between tokens p50 {row['itl_ms']['p50']:6.1f} ms, p95 {row['itl_ms']['p95']:6.1f} ms   {row['prompt_tokens']} + {row['new_tokens']} tokens, "
              f"{row['failed']} failed")
    print(f"ratio         {ratios['tokens_per_s']:8.2f}         p95 to the first token {ratios['p95_ttft']:.2f} times as fast")


if __name__ == "__main__":
    main()
