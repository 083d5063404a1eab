"""What a training step of transformers does at the shape of `fathom bench train --config moe-1b` on the same GPU: weights, gradients and AdamW's
moments in bfloat16, next-token loss on random tokens.

    python benchmarks/cuda/transformers_train.py [--experts grouped_mm batched_mm eager] [--batch 8] [--tokens 2048] [--steps 8]
    fathom bench train --config moe-1b --batch 8 --prompt-tokens 2048 --moments bf16 --masters none

Prints one line an implementation of the experts: tokens a second, milliseconds a step (median), TFLOP/s (6 a token and active parameter), peak memory.
"""

import argparse
import gc
import statistics
import time

import torch
from transformers import DeepseekV3Config, DeepseekV3ForCausalLM

SHAPE = {
    "vocab_size": 32768, "hidden_size": 1024, "intermediate_size": 4096, "moe_intermediate_size": 512, "num_hidden_layers": 12,
    "num_attention_heads": 16, "num_key_value_heads": 16, "q_lora_rank": 512, "kv_lora_rank": 256, "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64, "v_head_dim": 128, "n_routed_experts": 64, "num_experts_per_tok": 6, "n_shared_experts": 1, "n_group": 1,
    "topk_group": 1, "first_k_dense_replace": 1, "routed_scaling_factor": 2.5, "max_position_embeddings": 4096,
}


def make_model(experts):
    config = DeepseekV3Config(**SHAPE)
    config._experts_implementation = experts
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda"):
        return DeepseekV3ForCausalLM(config).train()


def active_parameters(model):
    total = sum(p.numel() for p in model.parameters())
    routed = sum(p.numel() for name, p in model.named_parameters() if ".experts." in name)
    return total, total - routed + routed * SHAPE["num_experts_per_tok"] // SHAPE["n_routed_experts"]


def measure(experts, batch, tokens, steps):
    torch.cuda.reset_peak_memory_stats()
    model = make_model(experts)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    ids = torch.randint(SHAPE["vocab_size"], (batch, tokens), device="cuda")

    def step():
        model(ids, labels=ids, use_cache=False).loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    times = []
    for i in range(3 + steps):
        torch.cuda.synchronize()
        start = time.perf_counter()
        step()
        torch.cuda.synchronize()
        if i >= 3:
            times.append(time.perf_counter() - start)
    seconds = statistics.median(times)
    total, active = active_parameters(model)
    print(f"transformers {experts:>10}: train {batch} x {tokens}: {batch * tokens / seconds:,.0f} tok/s  {seconds * 1e3:.1f} ms  "
          f"{6 * active * batch * tokens / seconds / 1e12:.1f} TFLOP/s  {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB  "
          f"({total / 1e9:.3f}B parameters, {active / 1e9:.3f}B active)", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experts", nargs="+", default=["grouped_mm", "batched_mm", "eager"])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--steps", type=int, default=8)
    args = parser.parse_args()
    torch.manual_seed(0)
    for experts in args.experts:
        try:
            measure(experts, args.batch, args.tokens, args.steps)
        except (RuntimeError, ValueError, NotImplementedError) as error:
            print(f"transformers {experts:>10}: {type(error).__name__}: {str(error).splitlines()[0][:160]}", flush=True)
        gc.collect()
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
