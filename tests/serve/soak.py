#!/usr/bin/env python3
"""A soak: clients that ask, leave, cancel, stall, send nonsense and ask for too much, all at once, for minutes. One row a check, `ok NAME` or `FAIL NAME`.

usage: soak.py PROGRAM [--minutes 10] [--clients 24] [--seed 0] [--model M] [--serve-flags "..."]

Checked: every whole request is answered in full (status, number of tokens, last event), and where it is greedy with the same text every time (near-ties of
bf16 excepted: counted, at most 5%); what is wrong is refused with its own 4xx and nothing with a 5xx; at the end nothing runs or waits, no block of the cache is in use, files and
threads are those of the beginning; the resident memory of the last fifth of the time is no more than 2% above that of the second fifth. The cache is small on purpose, so that
sequences are preempted, and filled once before, since memory that was never written is not resident.
"""
import argparse
import collections
import http.client
import json
import os
import random
import shlex
import socket
import statistics
import struct
import sys
import tempfile
import threading
import time
import traceback

from running_server import RunningServer

WORDS = "the sea house time water light green stone name long road night white world hand great little river wind earth".split()


class Soak:
    def __init__(self, server, seed, end):
        self.server, self.seed, self.end = server, seed, end
        self.counts, self.failures, self.texts = collections.Counter(), [], {}
        self.different, self.lock = 0, threading.Lock()

    def fail(self, what):
        with self.lock:
            self.failures.append(what)

    def post(self, path, body, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=300)
        try:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            connection.request("POST", path, data, {"Content-Type": "application/json", **(headers or {})})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def prompt(self, rng, most=120):
        return " ".join(rng.choice(WORDS) for _ in range(rng.randint(1, most)))

    # Each action is one client's visit; its name is in the statistics.
    def whole(self, rng):
        key = rng.randrange(40)
        own = random.Random(key)
        prompt, tokens = self.prompt(own), own.randint(1, 80)
        status, data = self.post("/v1/completions", {"prompt": prompt, "max_tokens": tokens, "temperature": 0, "ignore_eos": True})
        if status == 429:
            return "turned away"
        answer = json.loads(data)
        if status != 200 or answer["usage"]["completion_tokens"] != tokens or answer["choices"][0]["finish_reason"] != "length":
            return self.fail(f"whole: {status} {data[:300]}")
        with self.lock:
            self.different += self.texts.setdefault(key, answer["choices"][0]["text"]) != answer["choices"][0]["text"]

    def stream(self, rng):
        tokens = rng.randint(1, 100)
        status, data = self.post("/v1/chat/completions", {"messages": [{"role": "user", "content": self.prompt(rng)}], "max_tokens": tokens, "stream": True,
                                                          "ignore_eos": True, "seed": rng.randrange(1 << 30), "stream_options": {"include_usage": True}})
        if status == 429:
            return "turned away"
        events = [line[6:] for line in data.decode().split("\n") if line.startswith("data: ")]
        if status != 200 or events[-1] != "[DONE]" or json.loads(events[-2])["usage"]["completion_tokens"] != tokens:
            self.fail(f"stream: {status} {data[-300:]}")

    def samples(self, rng):
        n = rng.randint(2, 6)
        status, data = self.post("/v1/completions", {"prompt": [self.prompt(rng), self.prompt(rng)], "n": n, "max_tokens": 12, "ignore_eos": True, "logprobs": 2})
        if status == 429:
            return "turned away"
        if status != 200 or len(json.loads(data)["choices"]) != 2 * n or json.loads(data)["usage"]["completion_tokens"] != 24 * n:
            self.fail(f"samples: {status} {data[:300]}")

    def others(self, rng):
        path, body = rng.choice([("/v1/embeddings", {"input": [self.prompt(rng), self.prompt(rng)]}), ("/tokenize", {"content": self.prompt(rng)}),
                                 ("/v1/messages", {"max_tokens": 8, "messages": [{"role": "user", "content": self.prompt(rng)}]}),
                                 ("/v1/messages/count_tokens", {"messages": [{"role": "user", "content": self.prompt(rng)}]}),
                                 ("/v1/chat/completions", {"session_id": f"s{rng.randrange(30)}", "max_tokens": 8, "messages": [{"role": "user", "content": self.prompt(rng, 30)}]}),
                                 ("/completion", {"prompt": self.prompt(rng), "n_predict": 5}), ("/generate", {"prompt": self.prompt(rng), "max_new_tokens": 5})])
        status, data = self.post(path, body)
        if status not in (200, 429):
            self.fail(f"others: {path} {status} {data[:300]}")

    def bad(self, rng):
        path, body, wanted = rng.choice([
            ("/v1/completions", b"{", 400), ("/v1/completions", b"\xff\xfe\x00", 400), ("/v1/completions", {"prompt": 7}, 400),
            ("/v1/completions", {"prompt": "a", "max_tokens": -1}, 400), ("/v1/completions", {"prompt": [99999999]}, 400),
            ("/v1/chat/completions", {"messages": []}, 400), ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}], "temperature": "hot"}, 400),
            ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}], "model": "other"}, 404), ("/nowhere", {}, 404), ("/health", {}, 405),
            ("/v1/completions", b"[" * 50000, 400), ("/v1/completions", {"prompt": "sea " * 30000}, 400), ("/v1/completions", b" " * 1500000, 413)])
        try:
            status, data = self.post(path, body)
        except (ConnectionError, BrokenPipeError):  # the refusal may come before all of a large body was sent
            return "refused early" if wanted == 413 else self.fail(f"bad: {path} {str(body)[:60]}: closed")
        if status != wanted:
            self.fail(f"bad: {path} {str(body)[:60]}: {status} for {wanted}: {data[:200]}")

    def raw(self, rng, bytes_, answer=True):
        with socket.create_connection(("127.0.0.1", self.server.port), timeout=60) as s:
            try:
                s.sendall(bytes_)
                if answer:
                    s.recv(1 << 16)
            except OSError:
                pass

    def nonsense(self, rng):
        self.raw(rng, rng.choice([rng.randbytes(rng.randint(1, 2000)) + b"\r\n\r\n", b"GET / HTTP/1.1\r\nX: " + b"y" * 60000 + b"\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                                  b"POST /v1/completions HTTP/1.1\r\nContent-Length: -5\r\n\r\n", b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"]))

    def half(self, rng):
        self.raw(rng, b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 500\r\n\r\n{\"prompt\":", answer=False)

    def leave(self, rng):
        """Asks for much, reads a little or nothing, and goes, in one of the ways of going."""
        body = json.dumps({"prompt": self.prompt(rng, 1500), "max_tokens": rng.randint(100, 2000), "n": rng.choice([1, 1, 1, 4]), "ignore_eos": True,
                           "stream": rng.random() < 0.7, "logprobs": rng.choice([None, 3])}).encode()
        with socket.create_connection(("127.0.0.1", self.server.port), timeout=60) as s:
            s.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            until = time.monotonic() + rng.choice([0, 0.05, 0.5, 2])
            while (left := until - time.monotonic()) > 0:
                s.settimeout(left)
                try:
                    if not s.recv(rng.choice([1, 50, 4096])):
                        break
                except (TimeoutError, OSError):
                    break
            if rng.random() < 0.5:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset

    def slow(self, rng):
        """Reads a byte every tenth of a second, then goes."""
        body = json.dumps({"prompt": "The sea", "max_tokens": 200, "ignore_eos": True, "stream": True, "logprobs": 5}).encode()
        with socket.create_connection(("127.0.0.1", self.server.port), timeout=60) as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            s.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            for _ in range(rng.randint(10, 60)):
                if not s.recv(1):
                    break
                time.sleep(0.1)

    def client(self, number):
        rng = random.Random(f"{self.seed} {number}")
        actions = [self.whole] * 5 + [self.stream] * 4 + [self.leave] * 4 + [self.samples, self.others, self.others, self.bad, self.bad, self.nonsense, self.half, self.slow]
        while time.monotonic() < self.end:
            action = rng.choice(actions)
            try:
                told = action(rng)
            except Exception:  # noqa: BLE001: every failure is a row
                told = self.fail(f"{action.__name__}: {traceback.format_exc(limit=-2)}")
            with self.lock:
                self.counts[f"{action.__name__}{' ' + told if told else ''}"] += 1


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--clients", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", default="")
    parser.add_argument("--serve-flags", default="--memory-fraction 0.006 --max-num-seqs 32 --max-queue 64 --max-body-mb 1")
    args = parser.parse_args()
    failed = 0

    def row(name, good, detail):
        nonlocal failed
        failed += not good
        print(f"{'ok  ' if good else 'FAIL'} soak {name}: {detail}", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        flags = shlex.split(args.serve_flags) + ["--sessions", os.path.join(folder, "sessions.db")] + (["--model", args.model] if args.model else [])
        with RunningServer(args.program, *flags) as server:
            soak = Soak(server, args.seed, end=0)
            # Until every page of the cache has been written: from then on it takes no more memory.
            for i in range(100):
                soak.post("/v1/completions", {"prompt": soak.prompt(random.Random(f"warm {i}"), 800), "max_tokens": 1})
                if server.metrics()["vllm:prompt_tokens_total"] > 1.2 * server.cache_tokens:
                    break
            begin = time.monotonic()
            soak.end = begin + 60 * args.minutes
            files, threads = server.num_files(), server.num_threads()
            clients = [threading.Thread(target=soak.client, args=(i,)) for i in range(args.clients)]
            for client in clients:
                client.start()
            memory = []
            while time.monotonic() < soak.end:
                time.sleep(min(2.0, max(soak.end - time.monotonic(), 0.1)))
                memory.append(((time.monotonic() - begin) / (60 * args.minutes), server.resident_mb()))
            for client in clients:
                client.join()
            for _ in range(600):
                metrics = server.metrics()
                if metrics["vllm:num_requests_running"] + metrics["vllm:num_requests_waiting"] == 0 and metrics["fathom:http_connections"] <= 1:
                    break
                time.sleep(0.1)
            row("whole requests are answered in full", not soak.failures, f"{sum(soak.counts.values())} visits, {len(soak.failures)} failures: {soak.failures[:3]}")
            print("     " + ", ".join(f"{name} {count}" for name, count in sorted(soak.counts.items())))
            num_whole = max(soak.counts["whole"], 1)
            row("greedy answers are the same every time", soak.different <= 0.05 * num_whole, f"{soak.different} of {num_whole} differ")
            row("nothing runs or waits", metrics["vllm:num_requests_running"] + metrics["vllm:num_requests_waiting"] == 0, "")
            row("no block is in use", metrics["vllm:kv_cache_usage_perc"] == 0, f"{metrics['vllm:kv_cache_usage_perc']}; {metrics['vllm:num_preemptions_total']:.0f} preemptions")
            row("files and threads", server.num_files() <= files and server.num_threads() <= threads, f"{files} files, {threads} threads; then {server.num_files()}, {server.num_threads()}")
            early = statistics.median(mb for part, mb in memory if 0.2 <= part < 0.4)
            late = statistics.median(mb for part, mb in memory if part >= 0.8)
            row("memory is flat", late <= 1.02 * early, "MB at each tenth: " + ", ".join(f"{mb:.1f}" for _, mb in memory[::max(len(memory) // 10, 1)]) + f"; {late - early:+.1f} MB")
            code = server.stop()
            row("ends with 0", code == 0, f"{code}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
