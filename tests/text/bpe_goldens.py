"""Writes data/bpe_goldens.json: small texts, settings, and the vocabulary and merges that BpeTrainer of Hugging Face's `tokenizers` makes of them.

  python tests/text/bpe_goldens.py        (the pinned tokenizers package)
"""

import json
import pathlib
import random

from tokenizers import AddedToken, Tokenizer, decoders, models, trainers
from tokenizers.pre_tokenizers import ByteLevel, PreTokenizer

import tiny_tokenizers as tiny

SPECIAL = ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>"]


def random_text(rng, kind):
    if kind == "runs":  # few letters: overlapping pairs, tokens that come up in two ways
        return "".join(rng.choice("aab ") * rng.randint(1, 9) for _ in range(rng.randint(1, 60)))
    if kind == "code":
        words = ["def", "return", "self", "for i in range(n):", "x1", "123456", "__init__", "\t\t", "\n    ", "=", "==", "(", ")", "# naïve", "文字列"]
        return " ".join(rng.choice(words) for _ in range(rng.randint(1, 80)))
    lexicon = [f"{a}{b}{c}" for a in ("str", "wa", "Ünder", "re", "文", "при") for b in ("ing", "ter", "ло", "字") for c in ("", "s", "ed", " 12", "!\n", "…")]
    return " ".join(rng.choice(lexicon) for _ in range(rng.randint(1, 120)))


def train(texts, pre_tokenizer, vocab_size, min_frequency, special_tokens):
    tokenizer = Tokenizer(models.BPE())
    empty = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None, "pre_tokenizer": pre_tokenizer,
             "post_processor": None, "decoder": None, "model": {"type": "BPE", "vocab": {}, "merges": []}}
    tokenizer = Tokenizer.from_str(json.dumps(empty))
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, min_frequency=min_frequency, special_tokens=special_tokens,
                                  initial_alphabet=ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    tokens = [text for text, _ in sorted(model["vocab"].items(), key=lambda item: item[1])]
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    return tokens, merges


def main():
    rng = random.Random(7)
    pipelines = tiny.pipelines()
    cases = []
    for kind, family, vocab_size, min_frequency in [("runs", "gpt-2", 330, 0), ("runs", "deepseek-v3", 600, 0), ("code", "deepseek-v3", 500, 0), ("words", "deepseek-v3", 420, 2),
                                                    ("words", "llama-bpe", 700, 0), ("code", "qwen2", 380, 3), ("runs", "deepseek-v3", 300, 0)]:
        texts = [random_text(rng, kind) for _ in range(25)]
        tokens, merges = train(texts, pipelines[family]["pre_tokenizer"], vocab_size, min_frequency, SPECIAL)
        cases.append({"family": family, "vocab_size": vocab_size, "min_frequency": min_frequency, "special_tokens": SPECIAL, "texts": texts,
                      "learned": tokens[len(SPECIAL) + 256:], "merges": merges})
    path = pathlib.Path(__file__).parent / "data/bpe_goldens.json"
    path.write_text(json.dumps(cases, ensure_ascii=False, indent=0))
    print(f"{path}: {len(cases)} cases, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
