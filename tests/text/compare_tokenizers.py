"""Compares `fathom tokenize` with Hugging Face's `tokenizers` on random texts, id for id.

  python tests/text/compare_tokenizers.py [--program build/fathom] [--texts 2000] [--seed 1] [TOKENIZER ...]

Each TOKENIZER is a folder with tokenizer.json, or a GGUF of a family that tiny_tokenizers.py knows. Without one, every small
tokenizer of tiny_tokenizers.py is compared. --texts is for each tokenizer; --file adds the lines of a file.
"""

import argparse
import json
import pathlib
import random
import subprocess
import sys
import tempfile

from tokenizers import Tokenizer

import tiny_tokenizers as tiny


def tokenizer_of_gguf(path):
    from gguf import GGUFReader

    fields = GGUFReader(path).fields
    value = lambda key: fields["tokenizer.ggml." + key].contents()
    texts, types, name = value("tokens"), value("token_type"), value("pre")
    added, vocabulary = [], {}
    for i, (text, kind) in enumerate(zip(texts, types)):
        if kind == 1 or text == f"[PAD{i}]":
            vocabulary[text] = i
        else:
            added.append((i, text, kind == 3))
    # The library numbers added tokens itself, so its ids are mapped back. Where an added letter is also a byte's character
    # it takes that id: no valid UTF-8 holds those bytes.
    mapping = {}
    for i, text, special in added:
        vocabulary[f"\x00added{i}"] = i
    pipe = tiny.pipelines()[name]
    model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
             "fuse_unk": False, "byte_fallback": False, "vocab": vocabulary, "merges": value("merges"), **pipe.get("model", {})}
    data = {"version": "1.0", "truncation": None, "padding": None, "normalizer": pipe.get("normalizer"),
            "pre_tokenizer": pipe["pre_tokenizer"], "post_processor": None, "decoder": tiny.byte_level(), "model": model,
            "added_tokens": []}
    next_id = len(vocabulary)
    for i, text, special in added:
        data["added_tokens"].append({"id": 0, **tiny.added(text, special=special, normalized=False)})
        mapping[vocabulary.get(text, next_id)] = i
        next_id += text not in vocabulary
    return Tokenizer.from_str(json.dumps(data)), mapping


def run_fathom(program, path, texts, flags):
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    done = subprocess.run([program, "tokenize", "--tokenizer", str(path), "--jsonl", *flags], input=lines.encode(), stdout=subprocess.PIPE)
    if done.returncode != 0:
        raise SystemExit(f"{program} ended with {done.returncode}")
    return [json.loads(line) for line in done.stdout.decode().split("\n")[:-1]]


def compare(program, name, path, reference, texts, mapping={}):
    bad = 0
    for special in (True, False):
        reference.encode_special_tokens = not special
        want = [[mapping.get(i, i) for i in e.ids] for e in reference.encode_batch(texts, add_special_tokens=False)]
        got = run_fathom(program, path, texts, [] if special else ["--no-special"])
        assert len(got) == len(want)
        for text, w, g in zip(texts, want, got):
            if g.get("tokens") != w:
                bad += 1
                if bad <= 3:
                    print(f"{name}: {text!r}\n  want {w}\n  got  {g}", file=sys.stderr)
    print(f"{'FAIL' if bad else 'ok  '} {name}: {2 * len(texts) - bad} of {2 * len(texts)} texts identical", flush=True)
    return bad


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("tokenizers", nargs="*")
    parser.add_argument("--program", default="build/fathom")
    parser.add_argument("--texts", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--file")
    args = parser.parse_args()
    rng = random.Random(args.seed)
    texts = [tiny.random_text(rng) for _ in range(args.texts)]
    if args.file:
        texts += pathlib.Path(args.file).read_text().splitlines(keepends=True)
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        for given in args.tokenizers:
            mapping = {}
            if pathlib.Path(given).is_dir():
                reference = Tokenizer.from_file(given + "/tokenizer.json")
            else:
                reference, mapping = tokenizer_of_gguf(given)
            bad += compare(args.program, given, given, reference, texts, mapping)
        if not args.tokenizers:
            trained = tiny.train_models()
            for name, pipe in tiny.pipelines().items():
                path = pathlib.Path(folder) / "tokenizer.json"
                path.write_text(json.dumps(tiny.assemble(trained, pipe)))
                bad += compare(args.program, name, path, Tokenizer.from_file(str(path)), texts)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
