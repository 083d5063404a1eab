"""Small byte-level BPE tokenizers for every pre-tokenizer family and option, and random texts to try them on.

One model is trained on a text that this file writes; the pipelines around it are what differs. make_goldens.py and
compare_tokenizers.py both use it.
"""

import copy
import json
import random

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
DEEPSEEK_V3 = (
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| "
    "?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"
)
DEEPSEEK_LLM_LETTERS = (
    "\\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿ\u01c4-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅ"
    "ὐ-ὗὙὛὝ\u1f5f-\u1f7dᾀ-ᾴᾶ-ᾼ\u1fbeῂ-ῄῆ-ῌ\u1fd0-\u1fd3\u1fd6-\u1fdbῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ\u2126ℨ\u212a-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻ"
    "Ȿ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿ\ufb00-\ufb06ﬓ-ﬗ\uff21-\uff3a\uff41-\uff5a𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+"
)


def split(regex, behavior="Isolated", invert=False):
    return {"type": "Split", "pattern": {"Regex": regex}, "behavior": behavior, "invert": invert}


def byte_level(use_regex=False, add_prefix_space=False):
    return {"type": "ByteLevel", "add_prefix_space": add_prefix_space, "trim_offsets": True, "use_regex": use_regex}


def sequence(*steps):
    return {"type": "Sequence", "pretokenizers": list(steps)}


def digits(individual):
    return {"type": "Digits", "individual_digits": individual}


FAMILIES = {
    "gpt-2": byte_level(use_regex=True),
    "llama-bpe": sequence(split(LLAMA3), byte_level()),
    "qwen2": sequence(split(QWEN2), byte_level()),
    "smollm": sequence(digits(True), byte_level(use_regex=True)),
    "deepseek-v3": sequence(split(r"\p{N}{1,3}"), split("[一-龥\u3040-ゟ゠-ヿ]+"), split(DEEPSEEK_V3), byte_level()),
    "deepseek-llm": sequence(
        split("[\r\n]"),
        split(DEEPSEEK_LLM_LETTERS),
        split("\\s?[!-/:-~！-／：-～‘-‟\u3000-。]+"),
        split("\\s+$"),
        split("[一-龥ࠀ-一가-\ud7ff]+"),
        digits(True),
        byte_level(),
    ),
    "deepseek-coder": sequence(
        split("[\r\n]"), split("\\s?\\p{L}+"), split("\\s?\\p{P}+"), split("[一-龥ࠀ-一가-\ud7ff]+"), digits(True), byte_level()
    ),
}


def added(content, special=False, **flags):
    token = dict(content=content, single_word=False, lstrip=False, rstrip=False, normalized=not special, special=special)
    token.update(flags)
    return token


ADDED = [
    added("<s>", special=True),
    added("</s>", special=True),
    added("<｜User｜>", special=True, normalized=False),
    added("<think>"),
    added("</think>"),
    added("<｜tool▁sep｜>", normalized=False),
    added("ü"),
    added("<s><s>", normalized=False),
]
FLAGGED = [
    added("<mask>", special=True, lstrip=True),
    added("[R]", rstrip=True),
    added("word", single_word=True),
    added("[LR]", lstrip=True, rstrip=True, normalized=False),
    added("Case", normalized=True),
    added(" x"),
]


def pipelines():
    """name -> the keys of tokenizer.json that differ from the base, and those of its model."""
    result = {name: {"pre_tokenizer": pre} for name, pre in FAMILIES.items()}
    result["qwen2"]["normalizer"] = {"type": "NFC"}
    result["llama-bpe"]["model"] = {"ignore_merges": True}
    for behavior in ["Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"]:
        for invert in [False, True]:
            result[f"split {behavior} {invert}"] = {
                "pre_tokenizer": sequence(split(r"[\p{P} ]", behavior, invert), byte_level())
            }
        result[f"empty matches {behavior}"] = {"pre_tokenizer": sequence(split(r"a*(?=\d|b)|,|", behavior), byte_level())}
        result[f"punctuation {behavior}"] = {
            "pre_tokenizer": sequence({"type": "Punctuation", "behavior": behavior}, byte_level())
        }
    result["text pattern"] = {
        "pre_tokenizer": sequence(
            {"type": "Split", "pattern": {"String": "e."}, "behavior": "MergedWithPrevious", "invert": False}, byte_level()
        )
    }
    result["digits contiguous"] = {"pre_tokenizer": sequence(digits(False), byte_level(True, True))}
    result["other regex"] = {
        "pre_tokenizer": sequence(
            split(r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re)?|\d{2,3}|\s+$"),
            byte_level(),
        )
    }
    result["lookaround"] = {"pre_tokenizer": sequence(split(r"(?<=\w)(?=\W)|^\s|(?<!a)b+?c|(?>x+)y|[^\S\n]{2,}"), byte_level())}
    for form in ["NFC", "NFD", "NFKC", "NFKD", "Lowercase"]:
        result[form] = {"normalizer": {"type": form}, "pre_tokenizer": FAMILIES["gpt-2"]}
    result["normalizers"] = {
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Strip", "strip_left": True, "strip_right": False},
                {"type": "Replace", "pattern": {"Regex": r"\s{2,}|\d"}, "content": " "},
                {"type": "Replace", "pattern": {"String": "th"}, "content": "þ"},
                {"type": "Lowercase"},
                {"type": "Prepend", "prepend": "é"},
            ],
        },
        "pre_tokenizer": FAMILIES["gpt-2"],
    }
    result["template"] = {
        "pre_tokenizer": FAMILIES["gpt-2"],
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}},
        },
    }
    for scheme in ["always", "first", "never"]:
        for cut in [True, False]:
            metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": cut}
            result[f"metaspace {scheme} {cut}"] = {"pre_tokenizer": metaspace, "decoder": metaspace, "characters": True}
    result["llama-2"] = {
        "characters": True,
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Prepend", "prepend": "▁"},
                {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
            ],
        },
        "pre_tokenizer": None,
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ],
        },
    }
    flagged = {name: copy.deepcopy(pipe) for name, pipe in result.items() if name in ("deepseek-v3", "Lowercase", "NFC", "llama-2")}
    for name, pipe in flagged.items():
        result[f"{name} with flagged tokens"] = {**pipe, "flagged": True}
    return result


WORDS = (
    "the of and to in that it is was for on are with as his they be at one have this from or had by hot but some what there we "
    "can out other were all your when up use word how said an each she which do their time if will way about many then them "
    "would write like so these her long make thing see him two has look more day could go come did my sound no most number who "
    "over know water than call first people may down side been now find any new work part take get place made live where after "
    "back little only round man year came show every good me give our under name very through just form great think say help"
).split()
OTHER = "день мир это как не что Straße naïve café Führer 中国 你好 世界 的 是 日本語 カタカナ ひらがな 한국어 안녕 مرحبا שלום नमस्ते ελληνικά 🦙 😀 👨‍👩‍👧".split()


def training_text(seed=1):
    rng = random.Random(seed)
    lines = []
    for _ in range(3000):
        words = [rng.choice(WORDS if rng.random() < 0.8 else OTHER) for _ in range(rng.randrange(3, 14))]
        words = [w.capitalize() if rng.random() < 0.1 else w for w in words]
        line = " ".join(words) + rng.choice([".", "!", "?", ",", " 123", "'s", "'ll", " == 2024;", "\n\n", "  "])
        lines.append(rng.choice(["", "    ", "\t"]) + line)
    return lines


def train_models():
    """The byte-level model and one over characters with byte fallback, as the `model` of tokenizer.json."""
    bytes_tokenizer = Tokenizer(models.BPE())
    bytes_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    names = [token["content"] for token in ADDED[:2]]
    bytes_tokenizer.train_from_iterator(
        training_text(),
        trainers.BpeTrainer(vocab_size=700, special_tokens=names, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False),
    )
    characters = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    characters.pre_tokenizer = pre_tokenizers.Metaspace()
    fallback = [f"<0x{b:02X}>" for b in range(256)]
    characters.train_from_iterator(
        training_text(2),
        trainers.BpeTrainer(vocab_size=800, special_tokens=names + ["<unk>"] + fallback, limit_alphabet=120, show_progress=False),
    )
    return [json.loads(t.to_str())["model"] for t in (bytes_tokenizer, characters)]


def assemble(models_of_kinds, pipe):
    """The tokenizer.json of a pipeline."""
    model = {**models_of_kinds[1 if pipe.get("characters") else 0], **pipe.get("model", {})}
    tokens = [{"id": 0, **token} for token in ADDED + (FLAGGED if pipe.get("flagged") else [])]
    next_id = len(model["vocab"])
    for token in tokens:
        if token["content"] in model["vocab"]:
            token["id"] = model["vocab"][token["content"]]
        else:
            token["id"] = next_id
            next_id += 1
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": tokens,
        "normalizer": pipe.get("normalizer"),
        "pre_tokenizer": pipe.get("pre_tokenizer"),
        "post_processor": pipe.get("post_processor"),
        "decoder": pipe.get("decoder", byte_level()),
        "model": model,
    }


SNIPPETS = [
    " ", "  ", "   ", "\n", "\r\n", "\t", "\n\n", " \n ", "\u3000", "\u00a0", "\u0085", "\u2028", "\u180e", "\u200b", "\u200d", "\x1c", "\x00",
    "'s", "'S", "'LL", "'ll", "'re", "'ſ", "'", "''", "1", "12", "1234", "٣٤", "½", "²", "Ⅷ", "３", "𝟘", "e\u0301", "é", "ﬁ", "İ", "ß", "ς", "Σ",
    "\u0323\u0307", "가", "각", "龥", "龦", "一", "゠", "・", "〜", "、", "。", "！", "～", "“", "…", "—", "€", "+", "$", "<", "^", "`", "|", "\ufeff",
    "\u0897", "\u0301", "👩‍🚀", "🏳️‍🌈", "\U000e0001", "\ue000", "\U0010fffd", "𐐀", "𞤀", "Ǆ", "K", "Ω", "word", " word ", "words", "Case", "case",
    "<mask>", " <mask>", "[R] ", "[LR]", "[LR]  ", "ü", "<think>", "</think>\n", "<s>", "<s><s>", "<s", "</s>", "<｜User｜>", "<｜tool▁sep｜>", "<｜", " x",
]


def random_text(rng):
    def piece():
        kind = rng.randrange(10)
        if kind < 2:
            return rng.choice(WORDS)
        if kind == 2:
            return rng.choice(OTHER)
        if kind < 6:
            return rng.choice(SNIPPETS)
        if kind == 6:
            return "".join(chr(rng.randrange(32, 127)) for _ in range(rng.randrange(1, 6)))
        if kind == 7:
            return rng.choice(["a", " ", "1", "\n", "é", "的", "!", "'", "\t"]) * rng.randrange(1, 70)
        if kind == 8:
            limit = rng.choice([0x80, 0x300, 0x800, 0x3100, 0x10000, 0x20000, 0x110000])
            codes = (rng.randrange(limit) for _ in range(rng.randrange(1, 5)))
            return "".join(chr(c) for c in codes if not 0xD800 <= c < 0xE000)
        return " " + rng.choice(WORDS)

    return "".join(piece() for _ in range(rng.randrange(1, 14)))
