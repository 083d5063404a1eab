"""What transformers does at DeepSeek-V2-Lite's shape on the same GPU: random bf16 weights, prefill and decode steps over a cache of 512 tokens.

    python benchmarks/cuda/transformers_beside.py [--experts grouped_mm batched_mm eager] [--decode 1 8 64 128] [--prefill 1x512 1x4096 32x512]

Prints one line a measurement: the implementation of the experts, the work, tokens a second, milliseconds (median). Take the best implementation's.
"""

import argparse
import gc
import statistics
import time

import torch
from transformers import DeepseekV2Config, DeepseekV2ForCausalLM

SHAPE = {
    "hidden_size": 2048, "intermediate_size": 10944, "num_hidden_layers": 27, "vocab_size": 102400, "max_position_embeddings": 163840,
    "num_attention_heads": 16, "num_key_value_heads": 16, "q_lora_rank": None, "kv_lora_rank": 512,
    "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
    "n_routed_experts": 64, "num_experts_per_tok": 6, "n_shared_experts": 2, "moe_intermediate_size": 1408, "first_k_dense_replace": 1,
    "topk_method": "greedy", "n_group": 1, "topk_group": 1, "norm_topk_prob": False, "routed_scaling_factor": 1.0,
}


def milliseconds(step, runs, warm_up):
    times = []
    for i in range(warm_up + runs):
        torch.cuda.synchronize()
        start = time.perf_counter()
        step()
        torch.cuda.synchronize()
        if i >= warm_up:
            times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times)


def make_model(experts):
    config = DeepseekV2Config(**SHAPE)
    config._experts_implementation = experts
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda"):
        return DeepseekV2ForCausalLM(config).eval()


def measure(experts, prefills, decodes):
    model = make_model(experts)
    for batch, length in prefills:
        tokens = torch.randint(SHAPE["vocab_size"], (batch, length), device="cuda")
        ms = milliseconds(lambda: model(tokens, use_cache=False, logits_to_keep=1), runs=5, warm_up=2)
        print(f"transformers {experts:>10}: prefill {batch} x {length}: {batch * length / ms * 1e3:,.0f} tok/s  {ms:.2f} ms", flush=True)
    for batch in decodes:
        tokens = torch.randint(SHAPE["vocab_size"], (batch, 512), device="cuda")
        cache = model(tokens, use_cache=True, logits_to_keep=1).past_key_values
        ms = milliseconds(lambda: model(tokens[:, :1], past_key_values=cache, use_cache=True), runs=12, warm_up=4)
        print(f"transformers {experts:>10}: decode batch {batch}: {batch / ms * 1e3:,.1f} tok/s  {ms:.2f} ms", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experts", nargs="+", default=["grouped_mm", "batched_mm", "eager"])
    parser.add_argument("--decode", nargs="+", type=int, default=[1, 8, 64, 128])
    parser.add_argument("--prefill", nargs="+", default=["1x512", "1x4096", "32x512"])
    args = parser.parse_args()
    prefills = [tuple(int(n) for n in text.split("x")) for text in args.prefill]
    torch.manual_seed(0)
    with torch.inference_mode():
        for experts in args.experts:
            try:
                measure(experts, prefills, args.decode)
            except (RuntimeError, ValueError, NotImplementedError) as error:
                print(f"transformers {experts:>10}: {type(error).__name__}: {str(error).splitlines()[0][:160]}", flush=True)
            gc.collect()
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
