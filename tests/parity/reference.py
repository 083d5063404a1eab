"""Random checkpoints of every architecture, and what transformers (5.17) computes with them: the oracle of the parity tests.

make_case(folder, name, seed) writes folder/{config.json, model*.safetensors} and folder/golden.safetensors:
  tokens_1, tokens_17, tokens_70 (prompts), logits_N [N, V], greedy_17 (24 tokens after the prompt of 17), mtp_logits_17 [16, V] where there is an
  MTP module, and grad.NAME for every weight of the loss
    sum over the prompts of 17 and 70 tokens of CE(logits[i], token[i + 1]) / 85  (+ 0.3 * the same of MTP's logits[i] with token[i + 2] / 83).
Dimensions are drawn by the seed, none a multiple of 64.
"""
import json
import pathlib
import random
import shutil
import tempfile

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from transformers import (AutoModelForCausalLM, DeepseekV2Config, DeepseekV3Config, DeepseekV32Config, LlamaConfig, Qwen2Config)
from transformers.masking_utils import create_causal_mask

PROMPTS = (1, 17, 70)
YARN = {"rope_type": "yarn", "factor": 8.0, "beta_fast": 32, "beta_slow": 1, "original_max_position_embeddings": 32}

# name -> (config class, what differs from the drawn sizes)
CASES = {
    "llama": (LlamaConfig, {"tie_word_embeddings": True}),
    "llama_llama3_bias": (LlamaConfig, {"attention_bias": True, "mlp_bias": True, "rope_parameters": {
        "rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 48}}),
    "llama_linear": (LlamaConfig, {"rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}}),
    "llama_dynamic": (LlamaConfig, {"max_position_embeddings": 32,
                                    "rope_parameters": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}}),
    "llama_yarn": (LlamaConfig, {"rope_parameters": {**YARN, "rope_theta": 1000.0, "attention_factor": 1.1, "truncate": False}}),
    "qwen2": (Qwen2Config, {}),
    "v2_lite": (DeepseekV2Config, {"q_lora_rank": None, "topk_method": "greedy",
                                   "rope_parameters": {**YARN, "rope_theta": 10000.0, "mscale": 0.707, "mscale_all_dim": 0.707}}),
    "v2": (DeepseekV2Config, {"topk_method": "group_limited_greedy", "n_group": 4, "topk_group": 2, "routed_scaling_factor": 16.0,
                              "attention_bias": True, "mlp_bias": True}),
    "v3": (DeepseekV3Config, {"n_group": 4, "topk_group": 2, "mtp": True,
                              "rope_parameters": {**YARN, "rope_theta": 10000.0, "mscale": 1.0, "mscale_all_dim": 1.0}}),
    "v3_plain": (DeepseekV3Config, {"n_group": 1, "topk_group": 1, "rope_interleave": False, "attention_bias": True, "norm_topk_prob": False,
                                    "tie_word_embeddings": True, "q_lora_rank": None,
                                    "rope_parameters": {**YARN, "rope_theta": 10000.0, "mscale": 1.3, "mscale_all_dim": 0.4}}),
    "v32": (DeepseekV32Config, {"n_group": 2, "topk_group": 1, "index_topk": 11}),
    # Few heads: ties in the index, where a row of the whole prompt and a row of one step may choose differently.
    "v32_ties": (DeepseekV32Config, {"n_group": 2, "topk_group": 1, "index_topk": 11, "index_n_heads": 3, "num_hidden_layers": 2}),
}


def draw_config(name, rng, scale=1):
    cls, changes = CASES[name]
    changes = dict(changes)
    mtp = changes.pop("mtp", False)
    heads = rng.choice([2, 4])
    sizes = {
        "vocab_size": rng.randrange(59, 97, 2) * scale + 1, "hidden_size": heads * rng.choice([7, 9, 11]) * scale,
        "intermediate_size": rng.randrange(21, 45, 2) * scale, "num_hidden_layers": rng.choice([2, 3]), "num_attention_heads": heads,
        "num_key_value_heads": heads, "max_position_embeddings": 256, "rms_norm_eps": rng.choice([1e-5, 1e-6]),
        "pad_token_id": None, "bos_token_id": None, "eos_token_id": None,
    }
    if cls in (LlamaConfig, Qwen2Config):
        sizes["num_key_value_heads"] = heads // 2
        sizes["num_hidden_layers"] = 2
    if cls is LlamaConfig:
        sizes["head_dim"] = rng.choice([6, 10, 14])
    if cls is Qwen2Config:
        sizes["hidden_size"] = heads * rng.choice([6, 10, 14])
    if cls in (DeepseekV2Config, DeepseekV3Config, DeepseekV32Config):
        sizes.update(q_lora_rank=rng.randrange(13, 25), kv_lora_rank=rng.randrange(18, 31, 2), qk_nope_head_dim=rng.choice([10, 12, 14]),
                     qk_rope_head_dim=rng.choice([6, 10]), v_head_dim=rng.randrange(7, 15), n_routed_experts=12, n_shared_experts=rng.choice([1, 2]),
                     num_experts_per_tok=3, moe_intermediate_size=rng.randrange(5, 13), first_k_dense_replace=1)
    if cls is DeepseekV3Config:
        sizes["num_mtp_layers"] = 0
    if cls is DeepseekV32Config:
        # Many heads: a key whose heads are all negative scores exactly 0, and such ties are broken by the length of the row.
        sizes.update(index_n_heads=rng.choice([19, 21]), index_head_dim=rng.choice([12, 14]))
    sizes.update(changes)
    return cls(**sizes), mtp


def fill(model, generator):
    """Weights that leave no path dull: norms away from 1, biases away from 0, an expert that no token chooses."""
    for name, weight in list(model.named_parameters()) + [(n, b) for n, b in model.named_buffers() if "e_score" in n]:
        with torch.no_grad():
            noise = torch.randn(weight.shape, generator=generator)
            if "e_score_correction_bias" in name:
                weight.copy_(0.1 * noise)
                weight[5] = -10.0
            elif "norm" in name and name.endswith("weight"):
                weight.copy_(1 + 0.2 * noise)
            elif name.endswith("bias"):
                weight.copy_(0.2 * noise)
            elif "embed" in name:
                weight.copy_(noise)
            else:
                weight.copy_(noise * 1.2 / weight.shape[-1] ** 0.5)


def named_as_saved(model, values):
    """{file name: values[parameter]} by saving a model whose parameters are replaced by the values (transformers splits stacked experts)."""
    kept = {name: p.data.clone() for name, p in model.named_parameters()}
    for name, p in model.named_parameters():
        p.data.copy_(values.get(name) if values.get(name) is not None else torch.zeros_like(p))
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        saved = load_file(pathlib.Path(folder) / "model.safetensors")
    for name, p in model.named_parameters():
        p.data.copy_(kept[name])
    return {name: v for name, v in saved.items() if "e_score" not in name}


class MtpOracle(torch.nn.Module):
    """V3's MTP module out of transformers' own layer: h' = layer(eh_proj [enorm(Emb(t+1)); hnorm(h)])."""

    def __init__(self, full, layer_idx):
        super().__init__()
        norm, width = type(full.model.norm), full.config.hidden_size
        self.enorm, self.hnorm, self.head_norm = (norm(width, eps=full.config.rms_norm_eps) for _ in range(3))
        self.eh_proj = torch.nn.Linear(2 * width, width, bias=False)
        self.layer = full.model.layers[layer_idx]

    def forward(self, main, hidden, tokens):
        embedded = main.model.embed_tokens(tokens[:, 1:])
        x = self.eh_proj(torch.cat([self.enorm(embedded), self.hnorm(hidden[:, :-1])], -1))
        positions = torch.arange(x.shape[1])[None]
        mask = create_causal_mask(config=main.config, inputs_embeds=x, attention_mask=None, past_key_values=None, position_ids=positions)
        x = self.layer(x, attention_mask=mask, position_ids=positions, position_embeddings=main.model.rotary_emb(x, positions))
        return main.lm_head(self.head_norm(x))


def make_case(folder, name, seed, scale=1, shard=None, dtype=torch.float32, with_grads=True):
    folder = pathlib.Path(folder)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    config, has_mtp = draw_config(name, rng, scale)
    config._attn_implementation = "eager"
    num_layers = config.num_hidden_layers
    if has_mtp:
        config.num_hidden_layers += 1
    full = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager", experts_implementation="eager").eval()
    fill(full, generator)
    if dtype != torch.float32:  # weights as the file will hold them; the reference computes in float32
        for p in full.parameters():
            p.data = p.data.to(dtype).float()
    mtp = None
    if has_mtp:
        mtp = MtpOracle(full, num_layers)
        for part in (mtp.enorm, mtp.hnorm, mtp.head_norm, mtp.eh_proj):
            fill(part if part is mtp.eh_proj else torch.nn.ModuleDict({"norm": part}), generator)
            part.weight.data = part.weight.data.to(dtype).float()
    kept = full.config.dtype
    full.config.dtype = dtype
    for p in full.parameters():  # never the model whole: that would round the rotary frequencies too
        p.data = p.data.to(dtype)
    full.save_pretrained(folder, **({"max_shard_size": shard} if shard else {}))
    full.config.dtype = kept
    for p in full.parameters():
        p.data = p.data.float()
    if has_mtp:
        append_mtp(folder, full, mtp, num_layers, dtype)
        full.model.layers = full.model.layers[:num_layers]
        full.config.num_hidden_layers = num_layers
    save_file(reference(full, mtp, rng, num_layers, with_grads), folder / "golden.safetensors")


def append_mtp(folder, full, mtp, num_layers, dtype):
    path = folder / "model.safetensors"
    weights = load_file(path)
    prefix = f"model.layers.{num_layers}."
    for key, value in (("enorm.weight", mtp.enorm.weight), ("hnorm.weight", mtp.hnorm.weight), ("eh_proj.weight", mtp.eh_proj.weight),
                       ("shared_head.norm.weight", mtp.head_norm.weight), ("embed_tokens.weight", full.model.embed_tokens.weight),
                       ("shared_head.head.weight", full.lm_head.weight)):
        weights[prefix + key] = value.detach().to(dtype).clone()
    save_file(weights, path, metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config.update(num_hidden_layers=num_layers, num_nextn_predict_layers=1)
    (folder / "config.json").write_text(json.dumps(config, indent=2))


def greedy(model, prompt, count):
    """Greedy decoding through transformers' cache (with dynamic RoPE and with ties in the index the cache changes the answer)."""
    tokens, step, cache = [], prompt, None
    for _ in range(count):
        out = model(step, past_key_values=cache, use_cache=True)
        cache, step = out.past_key_values, out.logits[:, -1].argmax(-1, keepdim=True)
        tokens.append(int(step))
    return torch.tensor(tokens)


def reference(main, mtp, rng, num_layers, with_grads):
    golden = {}
    prompts = {n: torch.tensor([[rng.randrange(main.config.vocab_size) for _ in range(n)]]) for n in PROMPTS}
    with torch.no_grad():
        for n, tokens in prompts.items():
            golden[f"tokens_{n}"] = tokens[0].to(torch.int32)
            golden[f"logits_{n}"] = main(tokens, use_cache=False).logits[0].float()
        golden["greedy_17"] = greedy(main, prompts[17], 24).to(torch.int32)
    if not with_grads:
        return golden
    loss, mtp_loss = 0, 0
    for n in (17, 70):
        tokens = prompts[n]
        hidden = main.model(tokens, use_cache=False).last_hidden_state
        loss = loss + F.cross_entropy(main.lm_head(hidden)[0, :-1], tokens[0, 1:], reduction="sum")
        if mtp is not None:
            logits = mtp(main, hidden, tokens)
            if n == 17:
                golden["mtp_logits_17"] = logits[0].detach().clone()
            mtp_loss = mtp_loss + F.cross_entropy(logits[0, :-1], tokens[0, 2:], reduction="sum")
    (loss / 85 + 0.3 * mtp_loss / 83).backward()
    grads = {}
    if mtp is not None:  # the module's layer goes back, so that it is saved under its number
        main.model.layers.append(mtp.layer)
        main.config.num_hidden_layers = num_layers + 1
        prefix = f"model.layers.{num_layers}."
        for key, part in (("enorm", mtp.enorm), ("hnorm", mtp.hnorm), ("eh_proj", mtp.eh_proj), ("shared_head.norm", mtp.head_norm)):
            grads[f"{prefix}{key}.weight"] = part.weight.grad
    grads.update(named_as_saved(main, {name: p.grad for name, p in main.named_parameters()}))
    golden.update({f"grad.{name}": g.float().contiguous().clone() for name, g in grads.items()})
    golden["loss"] = torch.tensor([float(loss.detach() / 85 + (0.3 * mtp_loss.detach() / 83 if mtp is not None else 0))])
    return golden
