#!/usr/bin/env python3
"""A thousand open streams that wait: what they cost beside the model. One row: `ok idle_streams ...` or `FAIL idle_streams ...`.

usage: idle_streams.py PROGRAM [--streams 1000] [--limit-mb 100]

One answer at a time is generated (--max-num-seqs 1) and as long as the context allows, so that all streams but one are open, have their headers and wait in
the queue. The server's resident memory is read before (after a warm-up of the same answer) and while they are open.
"""
import argparse
import json
import resource
import socket
import sys
import time

from running_server import RunningServer


def body_of(server, tokens):
    body = json.dumps({"model": server.model, "prompt": "The sea", "max_tokens": tokens, "ignore_eos": True, "stream": True}).encode()
    return b"POST /v1/completions HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def open_stream(server, tokens):
    stream = socket.create_connection(("127.0.0.1", server.port), timeout=120)
    stream.sendall(body_of(server, tokens))
    head = b""
    while b"\r\n\r\n" not in head:
        piece = stream.recv(1 << 16)
        if not piece:
            raise RuntimeError(f"a stream was closed: {head[:200]}")
        head += piece
    if b" 200 " not in head.split(b"\r\n")[0]:
        raise RuntimeError(f"a stream was refused: {head[:200]}")
    return stream


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--limit-mb", type=float, default=100)
    args = parser.parse_args()
    most_files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most_files, args.streams + 200), most_files))
    with RunningServer(args.program, "--max-num-seqs", 1, "--max-queue", args.streams, "--memory-fraction", 0.05) as server:
        warm = open_stream(server, 256)
        while b"[DONE]" not in warm.recv(1 << 16):
            pass
        warm.close()
        before = server.resident_mb()
        streams = [open_stream(server, 4000) for _ in range(args.streams)]
        time.sleep(1)
        metrics = server.metrics()
        waiting, during = int(metrics["vllm:num_requests_waiting"]), server.resident_mb()
        for stream in streams:
            stream.close()
        for _ in range(600):
            if server.metrics()["vllm:num_requests_waiting"] + server.metrics()["vllm:num_requests_running"] == 0:
                break
            time.sleep(0.1)
        after = server.resident_mb()
        code = server.stop()
    used = during - before
    good = used < args.limit_mb and waiting >= args.streams - 1 and code == 0
    print(f"{'ok  ' if good else 'FAIL'} idle_streams: {args.streams} open, {waiting} waiting: {used:.1f} MB beside the {before:.0f} MB before "
          f"({1e3 * used / args.streams:.1f} KB a stream); {after - before:.1f} MB after they left; exit {code}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
