"""Writes tiny random models both as GGUF files and as the Hugging Face tensors that they stand for, into tests/checkpoint/data/models.

Run with the environment of `make parity`: .venv-test/bin/python tests/checkpoint/make_models.py
The GGUF side follows the layout of llama.cpp's converter, written here independently of the C++ code that it tests.
"""
import json
import pathlib
import shutil

import gguf
import numpy as np
import torch
from safetensors.torch import save_file

DATA = pathlib.Path(__file__).parent / "data" / "models"
F16, F32, Q8 = (gguf.GGMLQuantizationType[n] for n in ("F16", "F32", "Q8_0"))


class Model:
    """Collects tensors: `hub` holds what Hugging Face's names mean, `file` what goes into the GGUF."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.hub, self.file = {}, []

    def random(self, *shape, kind=F16):
        """A tensor that `kind` holds exactly, with its raw form."""
        values = self.rng.standard_normal(shape).astype(np.float32)
        raw = gguf.quants.quantize(values, kind)
        return gguf.quants.dequantize(raw, kind).astype(np.float32).reshape(shape)

    def put(self, name, values, kind=F16):
        self.file.append((name, gguf.quants.quantize(np.ascontiguousarray(values), kind), kind))

    def add(self, hub_name, name, *shape, kind=None, order=None):
        kind = kind if kind is not None else F32 if len(shape) == 1 else F16
        values = self.random(*shape, kind=kind)
        self.hub[hub_name] = values
        self.put(name, values if order is None else values[order], kind)


def paired(heads, head_dim):
    """Row order of the file: HF's (half, j) of a head becomes (j, half)."""
    return np.arange(heads * head_dim).reshape(heads, 2, head_dim // 2).swapaxes(1, 2).reshape(-1)


def write(name, architecture, keys, tensors, parts=1):
    per_part = -(-len(tensors) // parts)
    for part in range(parts):
        file = f"{name}.gguf" if parts == 1 else f"{name}-{part + 1:05}-of-{parts:05}.gguf"
        writer = gguf.GGUFWriter(DATA / file, architecture)
        if part == 0:
            for key, value in keys.items():
                key = key if key.startswith("tokenizer.") else f"{architecture}.{key}"
                add = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}[type(value)]
                add(key, value)
        if parts > 1:
            writer.add_uint16("split.no", part)
            writer.add_uint16("split.count", parts)
            writer.add_int32("split.tensors.count", len(tensors))
        for tensor_name, raw, kind in tensors[part * per_part:(part + 1) * per_part]:
            writer.add_tensor(tensor_name, raw, raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


def save_hub(name, hub, config):
    folder = DATA / name
    folder.mkdir()
    save_file({k: torch.from_numpy(v.copy()) for k, v in hub.items()}, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")


def make_llama():
    V, D, F, H, G, hd, layers = 40, 32, 40, 4, 2, 8, 2
    m = Model(1)
    m.add("model.embed_tokens.weight", "token_embd.weight", V, D, kind=Q8)
    for i in range(layers):
        h, b = f"model.layers.{i}.", f"blk.{i}."
        m.add(h + "input_layernorm.weight", b + "attn_norm.weight", D)
        m.add(h + "self_attn.q_proj.weight", b + "attn_q.weight", H * hd, D, kind=Q8, order=paired(H, hd))
        m.add(h + "self_attn.k_proj.weight", b + "attn_k.weight", G * hd, D, kind=Q8, order=paired(G, hd))
        m.add(h + "self_attn.v_proj.weight", b + "attn_v.weight", G * hd, D, kind=Q8)
        m.add(h + "self_attn.o_proj.weight", b + "attn_output.weight", D, H * hd, kind=Q8)
        m.add(h + "self_attn.q_proj.bias", b + "attn_q.bias", H * hd, order=paired(H, hd))
        m.add(h + "self_attn.k_proj.bias", b + "attn_k.bias", G * hd, order=paired(G, hd))
        m.add(h + "self_attn.v_proj.bias", b + "attn_v.bias", G * hd)
        m.add(h + "self_attn.o_proj.bias", b + "attn_output.bias", D)
        m.add(h + "post_attention_layernorm.weight", b + "ffn_norm.weight", D)
        for hub, name, shape in (("gate", "gate", (F, D)), ("up", "up", (F, D)), ("down", "down", (D, F))):
            m.add(h + f"mlp.{hub}_proj.weight", b + f"ffn_{name}.weight", *shape)
    m.add("model.norm.weight", "output_norm.weight", D)
    theta, factor, low, high, original = 500000.0, 8.0, 1.0, 4.0, 8192
    wavelength = 2 * np.pi * theta ** (np.arange(0, hd, 2) / hd)
    smooth = np.clip((original / wavelength - low) / (high - low), 0, 1)
    m.put("rope_freqs.weight", (1 / ((1 - smooth) / factor + smooth)).astype(np.float32), F32)
    keys = {"block_count": layers, "context_length": 64, "embedding_length": D, "feed_forward_length": F, "attention.head_count": H,
            "attention.head_count_kv": G, "attention.layer_norm_rms_epsilon": 1e-5, "rope.freq_base": theta, "rope.dimension_count": hd,
            "tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.eos_token_id": 2, "tokenizer.ggml.eot_token_id": 3}
    write("llama", "llama", keys, m.file)
    write("llama", "llama", keys, m.file, parts=3)
    save_hub("llama", m.hub, {
        "architectures": ["LlamaForCausalLM"], "vocab_size": V, "hidden_size": D, "intermediate_size": F, "num_hidden_layers": layers,
        "num_attention_heads": H, "num_key_value_heads": G, "head_dim": hd, "rms_norm_eps": 1e-5, "max_position_embeddings": 64, "rope_theta": theta,
        "rope_scaling": {"rope_type": "llama3", "factor": factor, "low_freq_factor": low, "high_freq_factor": high, "original_max_position_embeddings": original},
        "tie_word_embeddings": True, "attention_bias": True, "torch_dtype": "bfloat16", "bos_token_id": 1, "eos_token_id": [2, 3]})


def make_qwen2():
    V, D, F, H, G, hd, layers = 24, 32, 40, 4, 2, 8, 1
    m = Model(2)
    m.add("model.embed_tokens.weight", "token_embd.weight", V, D)
    m.add("lm_head.weight", "output.weight", V, D)
    h, b = "model.layers.0.", "blk.0."
    m.add(h + "input_layernorm.weight", b + "attn_norm.weight", D)
    for hub, name, rows in (("q", "q", H * hd), ("k", "k", G * hd), ("v", "v", G * hd)):
        m.add(h + f"self_attn.{hub}_proj.weight", b + f"attn_{name}.weight", rows, D)
        m.add(h + f"self_attn.{hub}_proj.bias", b + f"attn_{name}.bias", rows)
    m.add(h + "self_attn.o_proj.weight", b + "attn_output.weight", D, H * hd)
    m.add(h + "post_attention_layernorm.weight", b + "ffn_norm.weight", D)
    for hub, shape in (("gate", (F, D)), ("up", (F, D)), ("down", (D, F))):
        m.add(h + f"mlp.{hub}_proj.weight", b + f"ffn_{hub}.weight", *shape)
    m.add("model.norm.weight", "output_norm.weight", D)
    keys = {"block_count": layers, "context_length": 64, "embedding_length": D, "feed_forward_length": F, "attention.head_count": H,
            "attention.head_count_kv": G, "attention.layer_norm_rms_epsilon": 1e-6, "rope.freq_base": 1e6}
    write("qwen2", "qwen2", keys, m.file)
    save_hub("qwen2", m.hub, {
        "architectures": ["Qwen2ForCausalLM"], "vocab_size": V, "hidden_size": D, "intermediate_size": F, "num_hidden_layers": layers,
        "num_attention_heads": H, "num_key_value_heads": G, "rms_norm_eps": 1e-6, "max_position_embeddings": 64, "rope_theta": 1e6,
        "torch_dtype": "bfloat16"})


def make_deepseek(version):
    V, D, dense, F, H, nope, rope, vd, R, E, K, S = 24, 32, 40, 32, 3, 8, 4, 12, 32, 4, 2, 1
    q_lora = 32 if version == 3 else None
    layers = 2
    m = Model(10 + version)
    split_file, old_file = [], []
    m.add("model.embed_tokens.weight", "token_embd.weight", V, D)
    m.add("lm_head.weight", "output.weight", V, D)
    m.add("model.norm.weight", "output_norm.weight", D)
    for i in range(layers):
        h, b = f"model.layers.{i}.", f"blk.{i}."
        m.add(h + "input_layernorm.weight", b + "attn_norm.weight", D)
        if q_lora:
            m.add(h + "self_attn.q_a_proj.weight", b + "attn_q_a.weight", q_lora, D)
            m.add(h + "self_attn.q_a_layernorm.weight", b + "attn_q_a_norm.weight", q_lora)
            m.add(h + "self_attn.q_b_proj.weight", b + "attn_q_b.weight", H * (nope + rope), q_lora)
        else:
            m.add(h + "self_attn.q_proj.weight", b + "attn_q.weight", H * (nope + rope), D)
        m.add(h + "self_attn.kv_a_proj_with_mqa.weight", b + "attn_kv_a_mqa.weight", R + rope, D)
        m.add(h + "self_attn.kv_a_layernorm.weight", b + "attn_kv_a_norm.weight", R)
        m.add(h + "self_attn.o_proj.weight", b + "attn_output.weight", D, H * vd)
        m.add(h + "post_attention_layernorm.weight", b + "ffn_norm.weight", D)
        if i == 0:
            for hub, shape in (("gate", (dense, D)), ("up", (dense, D)), ("down", (D, dense))):
                m.add(h + f"mlp.{hub}_proj.weight", b + f"ffn_{hub}.weight", *shape)
            continue
        m.add(h + "mlp.gate.weight", b + "ffn_gate_inp.weight", E, D, kind=F32)
        if version == 3:
            m.add(h + "mlp.gate.e_score_correction_bias", b + "exp_probs_b.bias", E)
        for hub, shape in (("gate", (F * S, D)), ("up", (F * S, D)), ("down", (D, F * S))):
            m.add(h + f"mlp.shared_experts.{hub}_proj.weight", b + f"ffn_{hub}_shexp.weight", *shape)
    common = list(m.file)
    whole, halves, old = list(common), list(common), list(common)
    for i in range(layers):
        kv_b = m.random(H * (nope + vd), R)
        m.hub[f"model.layers.{i}.self_attn.kv_b_proj.weight"] = kv_b
        b = f"blk.{i}."
        heads = kv_b.reshape(H, nope + vd, R)
        k_b, v_b = np.ascontiguousarray(heads[:, :nope].swapaxes(1, 2)), np.ascontiguousarray(heads[:, nope:])
        m.file = whole
        m.put(b + "attn_kv_b.weight", kv_b)
        m.file = halves
        m.put(b + "attn_k_b.weight", k_b)
        m.put(b + "attn_v_b.weight", v_b)
        m.file = old
        m.put(b + "attn_k_b.weight", k_b.reshape(H * R, nope))
        m.put(b + "attn_v_b.weight", v_b.reshape(H * vd, R))
    for hub, shape in (("gate", (F, D)), ("up", (F, D)), ("down", (D, F))):
        experts = m.random(E, *shape, kind=Q8)
        for e in range(E):
            m.hub[f"model.layers.1.mlp.experts.{e}.{hub}_proj.weight"] = experts[e]
        for m.file in (whole, halves):
            m.put(f"blk.1.ffn_{hub}_exps.weight", experts, Q8)
        m.file = old
        for e in range(E):
            m.put(f"blk.1.ffn_{hub}.{e}.weight", experts[e], Q8)
    keys = {"block_count": layers, "context_length": 256, "embedding_length": D, "feed_forward_length": dense, "attention.head_count": H,
            "attention.layer_norm_rms_epsilon": 1e-6, "rope.freq_base": 10000.0, "leading_dense_block_count": 1, "vocab_size": V,
            "attention.kv_lora_rank": R, "rope.dimension_count": rope, "expert_count": E, "expert_used_count": K, "expert_shared_count": S,
            "expert_feed_forward_length": F, "rope.scaling.type": "yarn", "rope.scaling.factor": 40.0, "rope.scaling.original_context_length": 64,
            "expert_weights_scale": 2.5 if version == 3 else 1.0}
    mscale = 1.0 if version == 3 else 0.707
    keys["rope.scaling.yarn_log_multiplier"] = 0.1 * mscale
    if version == 3:
        keys |= {"attention.q_lora_rank": q_lora, "expert_gating_func": 2, "expert_weights_norm": True, "expert_group_count": 2, "expert_group_used_count": 1}
    plain = keys | {"attention.head_count_kv": H, "attention.key_length": nope + rope, "attention.value_length": vd}
    absorbed = keys | {"attention.head_count_kv": 1, "attention.key_length": R + rope, "attention.value_length": R,
                       "attention.key_length_mla": nope + rope, "attention.value_length_mla": vd}
    name = f"deepseek-v{version}"
    write(name + "-whole", "deepseek2", plain, whole)
    write(name + "-split", "deepseek2", absorbed, halves)
    write(name + "-old", "deepseek2", plain, old)
    save_hub(name, m.hub, {
        "architectures": [f"DeepseekV{version}ForCausalLM"], "vocab_size": V, "hidden_size": D, "intermediate_size": dense, "num_hidden_layers": layers,
        "num_attention_heads": H, "q_lora_rank": q_lora, "kv_lora_rank": R, "qk_nope_head_dim": nope, "qk_rope_head_dim": rope, "v_head_dim": vd,
        "n_routed_experts": E, "num_experts_per_tok": K, "n_shared_experts": S, "moe_intermediate_size": F, "first_k_dense_replace": 1,
        "n_group": 2 if version == 3 else 1, "topk_group": 1, "norm_topk_prob": version == 3, "topk_method": "noaux_tc" if version == 3 else "greedy",
        "scoring_func": "sigmoid" if version == 3 else "softmax", "routed_scaling_factor": 2.5 if version == 3 else 1.0, "rms_norm_eps": 1e-6,
        "max_position_embeddings": 256, "rope_theta": 10000.0, "torch_dtype": "bfloat16",
        "rope_scaling": {"type": "yarn", "factor": 40.0, "original_max_position_embeddings": 64, "beta_fast": 32, "beta_slow": 1, "mscale": mscale,
                         "mscale_all_dim": mscale}})


if __name__ == "__main__":
    shutil.rmtree(DATA, ignore_errors=True)
    DATA.mkdir(parents=True)
    make_llama()
    make_qwen2()
    make_deepseek(2)
    make_deepseek(3)
    print(sum(p.stat().st_size for p in DATA.rglob("*")), "bytes")
