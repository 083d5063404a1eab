"""judge.py MODEL CORPUS [--program build/fathom] [--most-tokens 96] [--json F]: how well a model completes Python.

Each of CORPUS/functions.jsonl (python_corpus.py) is completed greedily; the completion is cut at the first dedent out of the function (or, where none came, behind its last
whole line), and prompt + completion must pass ast.parse. Beside the model: an n-gram model of the same text (the longest of its last 4 tokens down to none that the text has,
and what followed it most often), and the empty completion. "exact lines": completions whose first line is the author's own.
"""
import argparse
import ast
import collections
import json
import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOKEN = re.compile(r"\n[ \t]*|[A-Za-z_]\w*|\d+|[ \t]+|[^\w\s]|\s")
ORDER = 4


def cut(completion):
    lines = completion.split("\n")
    for i, line in enumerate(lines[1:], 1):
        if line.strip() and not line.startswith((" ", "\t")):
            return "\n".join(lines[:i]) + "\n"
    return "\n".join(lines[:-1]) + "\n" if len(lines) > 1 else completion


def parses(text):
    try:
        ast.parse(text)
        return True
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False


class NGrams:
    def __init__(self, texts):
        self.next = [collections.defaultdict(collections.Counter) for _ in range(ORDER + 1)]
        for text in texts:
            tokens = TOKEN.findall(text)
            for i, token in enumerate(tokens):
                for n in range(min(i, ORDER) + 1):
                    self.next[n][tuple(tokens[i - n:i])][token] += 1
        self.best = [{context: counts.most_common(1)[0][0] for context, counts in level.items()} for level in self.next]
        self.next = None

    def complete(self, prompt, most):
        tokens, out = TOKEN.findall(prompt), []
        for _ in range(most):
            for n in range(min(ORDER, len(tokens)), -1, -1):
                token = self.best[n].get(tuple(tokens[len(tokens) - n:]))
                if token is not None:
                    break
            tokens.append(token)
            out.append(token)
            if token == "\n":  # a line that begins at the margin
                break
        return "".join(out) + ("x" if out and out[-1] == "\n" else "")


def model_completions(flags, prompts):
    answers = []
    for prompt in prompts:
        done = subprocess.run([flags.program, "generate", "--model", flags.model, "--prompt", prompt, "--max-new-tokens", str(flags.most_tokens), "--temperature", "0", "--json",
                               "--device", flags.device], capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(done.stderr.strip())
        answers.append(json.loads(done.stdout)["choices"][0]["text"])
    return answers


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("corpus")
    parser.add_argument("--program", default=ROOT / "build/fathom")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--most-tokens", type=int, default=96)
    parser.add_argument("--json")
    flags = parser.parse_args()
    corpus = pathlib.Path(flags.corpus)
    functions = [json.loads(line) for line in (corpus / "functions.jsonl").read_text().splitlines()]
    prompts = [row["prompt"] for row in functions]
    ngrams = NGrams(json.loads(line)["text"] for line in (corpus / "train.jsonl").read_text().splitlines())
    completions = {"model": model_completions(flags, prompts), "n-gram model": [ngrams.complete(prompt, 2 * flags.most_tokens) for prompt in prompts],
                   "nothing": [""] * len(prompts)}
    table = {}
    print(f"{len(prompts)} held-out functions   parse   exact lines")
    for name, answers in completions.items():
        parsed = sum(parses(prompt + cut(answer)) for prompt, answer in zip(prompts, answers))
        exact = sum(answer.split("\n")[0].rstrip() == row["rest"].split("\n")[0].rstrip() for row, answer in zip(functions, answers))
        table[name] = {"parsed": parsed, "exact_lines": exact}
        print(f"  {name:22} {parsed:7} {100 * parsed / len(prompts):5.1f}% {exact:8} {100 * exact / len(prompts):5.1f}%")
    if flags.json:
        pathlib.Path(flags.json).write_text(json.dumps({"functions": len(prompts), **table}, indent=1) + "\n")


if __name__ == "__main__":
    main()
