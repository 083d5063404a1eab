"""Writes data/tokenizer_goldens.json: small tokenizers, texts, and the ids and decoded text that Hugging Face's `tokenizers` gives.

  python tests/text/make_goldens.py        (the pinned tokenizers package)
"""

import json
import pathlib
import random

from tokenizers import Tokenizer

import tiny_tokenizers as tiny


def golden_cases(tokenizer, texts):
    cases = []
    for text in texts:
        tokenizer.encode_special_tokens = False
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        tokenizer.encode_special_tokens = True
        case = {"text": text, "ids": ids}
        plain = tokenizer.encode(text, add_special_tokens=False).ids
        if plain != ids:
            case["ids_without_special"] = plain
        decoded = tokenizer.decode(ids, skip_special_tokens=False)
        if decoded != text:
            case["decoded"] = decoded
        skipped = tokenizer.decode(ids, skip_special_tokens=True)
        if skipped != decoded:
            case["decoded_without_special"] = skipped
        cases.append(case)
    return cases


def main():
    trained = tiny.train_models()
    rng = random.Random(20)
    pipelines = []
    for name, pipe in tiny.pipelines().items():
        data = tiny.assemble(trained, pipe)
        tokenizer = Tokenizer.from_str(json.dumps(data))
        texts = []
        while len(texts) < (110 if name in tiny.FAMILIES else 14):
            text = tiny.random_text(rng)
            if len(text) < 60:
                texts.append(text)
        del data["model"]
        pipelines.append({
            "name": name,
            "model": 1 if pipe.get("characters") else 0,
            "model_options": pipe.get("model", {}),
            "tokenizer": data,
            "cases": golden_cases(tokenizer, texts),
        })
    path = pathlib.Path(__file__).parent / "data" / "tokenizer_goldens.json"
    lines = ['{"models": [', ",\n".join(json.dumps(m) for m in trained), '], "pipelines": [']
    lines.append(",\n".join(json.dumps(p) for p in pipelines))
    path.write_text("\n".join(lines) + "\n]}\n")


if __name__ == "__main__":
    main()
