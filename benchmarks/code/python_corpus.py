"""python_corpus.py OUT: the Python standard library's own sources as training text, and 200 functions of files that are held out.

    OUT/train.jsonl      {"path", "text"}: modules (tests left out), each once
    OUT/functions.jsonl  {"path", "name", "prompt", "rest"}: functions of held-out modules whose text stands in no other, cut at a place inside their body

A module is held out by the hash of its path, a cut is chosen by the hash of its function: the same interpreter gives the same files. Needs python3 alone. The sources are
under the PSF licence.
"""
import ast
import hashlib
import io
import json
import pathlib
import sys
import sysconfig
import textwrap
import tokenize

NUM_FUNCTIONS, HELD_OUT_OF = 200, 12
LEFT_OUT = {"test", "tests", "idle_test", "site-packages", "dist-packages", "turtledemo", "idlelib", "__pycache__"}


def number(text):
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def modules():
    library, seen = pathlib.Path(sysconfig.get_paths()["stdlib"]), set()
    for file in sorted(library.rglob("*.py")):
        path = file.relative_to(library)
        if LEFT_OUT & set(path.parts):
            continue
        try:
            text = file.read_text(encoding="utf-8")
            ast.parse(text)
        except (OSError, UnicodeDecodeError, SyntaxError, ValueError):
            continue
        digest = hashlib.sha256(text.encode()).digest()
        if digest not in seen and text.strip():
            seen.add(digest)
            yield path.as_posix(), text


def cut(source):
    """(prompt, rest) of a function, cut behind one of the tokens of its body; None where it is too short."""
    function = ast.parse(source).body[0]
    first = function.body[0].lineno
    if isinstance(function.body[0], ast.Expr) and isinstance(function.body[0].value, ast.Constant):  # the docstring stays in the prompt
        if len(function.body) < 3:
            return None
        first = function.body[1].lineno
    lines = source.splitlines(keepends=True)
    if not 4 <= len(lines) <= 40 or len(lines) - first < 2:
        return None
    ends = [token.end for token in tokenize.generate_tokens(io.StringIO(source).readline)
            if first <= token.start[0] < len(lines) and token.type in (tokenize.NAME, tokenize.OP, tokenize.NUMBER)
            and lines[token.end[0] - 1][token.end[1]:].strip()]  # something is left of the line
    if len(ends) < 8:
        return None
    row, column = ends[len(ends) // 4 + number(source) % (len(ends) // 2)]
    at = sum(map(len, lines[:row - 1])) + column
    return source[:at], source[at:]


def functions(text):
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not node.decorator_list:
            source = "\n".join(text.splitlines()[node.lineno - 1:node.end_lineno]) + "\n"
            source = textwrap.dedent(source)
            try:
                parts = cut(source)
            except (SyntaxError, tokenize.TokenError, IndentationError):
                continue
            if parts:
                yield node.name, source, parts


def main():
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    train, held_out = [], []
    for path, text in modules():
        (held_out if number(path) % HELD_OUT_OF == 0 else train).append((path, text))
    with open(out / "train.jsonl", "w", encoding="utf-8") as file:
        for path, text in train:
            file.write(json.dumps({"path": path, "text": text}) + "\n")
    everything = "\n".join(textwrap.dedent(text) for _, text in train)
    found = {}
    for path, text in held_out:
        for name, source, (prompt, rest) in functions(text):
            if source.strip() not in found and textwrap.indent(source, "    ").strip() not in everything and source.strip() not in everything:
                found[source.strip()] = {"path": path, "name": name, "prompt": prompt, "rest": rest}
    chosen = sorted(found.values(), key=lambda row: number(row["path"] + row["prompt"]))[:NUM_FUNCTIONS]
    with open(out / "functions.jsonl", "w", encoding="utf-8") as file:
        for row in chosen:
            file.write(json.dumps(row) + "\n")
    size = sum(len(text.encode()) for _, text in train)
    print(f"{len(train)} modules, {size / 1e6:.1f} MB of text in {out}/train.jsonl; {len(held_out)} held out, {len(chosen)} of their {len(found)} functions in {out}/functions.jsonl")


if __name__ == "__main__":
    main()
