"""Writes the configurations of released models, key by key as their config.json spells them (sizes and names are facts of the models)."""
import json
import pathlib

HERE = pathlib.Path(__file__).parent
YARN = {"beta_fast": 32, "beta_slow": 1, "factor": 40, "original_max_position_embeddings": 4096, "type": "yarn"}


def deepseek(architecture, model_type, **sizes):
    config = {
        "architectures": [architecture], "attention_bias": False, "attention_dropout": 0.0,
        "auto_map": {"AutoConfig": "configuration_deepseek.DeepseekConfig"},
        "aux_loss_alpha": 0.001, "bos_token_id": 0, "eos_token_id": 1, "ep_size": 1, "hidden_act": "silu", "initializer_range": 0.02,
        "kv_lora_rank": 512, "max_position_embeddings": 163840, "model_type": model_type, "moe_layer_freq": 1, "pretraining_tp": 1,
        "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "rms_norm_eps": 1e-06, "rope_theta": 10000, "seq_aux": True,
        "tie_word_embeddings": False, "torch_dtype": "bfloat16", "transformers_version": "4.33.1", "use_cache": True, "v_head_dim": 128,
    }
    config.update(sizes)
    return config


V3_SIZES = dict(
    first_k_dense_replace=3, hidden_size=7168, intermediate_size=18432, moe_intermediate_size=2048, n_group=8, n_routed_experts=256,
    n_shared_experts=1, norm_topk_prob=True, num_attention_heads=128, num_experts_per_tok=8, num_hidden_layers=61,
    num_key_value_heads=128, num_nextn_predict_layers=1, q_lora_rank=1536, routed_scaling_factor=2.5, scoring_func="sigmoid",
    topk_group=4, topk_method="noaux_tc", vocab_size=129280, rope_scaling=dict(YARN, mscale=1.0, mscale_all_dim=1.0),
    quantization_config={"activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8", "weight_block_size": [128, 128]})
V2_YARN = dict(YARN, mscale=0.707, mscale_all_dim=0.707)

CONFIGS = {
    "deepseek-v3": deepseek("DeepseekV3ForCausalLM", "deepseek_v3", **V3_SIZES),
    "deepseek-v3.2": deepseek("DeepseekV32ForCausalLM", "deepseek_v32", **V3_SIZES, index_head_dim=128, index_n_heads=64, index_topk=2048),
    "deepseek-v2": deepseek(
        "DeepseekV2ForCausalLM", "deepseek_v2", first_k_dense_replace=1, hidden_size=5120, intermediate_size=12288,
        moe_intermediate_size=1536, n_group=8, n_routed_experts=160, n_shared_experts=2, norm_topk_prob=False, num_attention_heads=128,
        num_experts_per_tok=6, num_hidden_layers=60, num_key_value_heads=128, q_lora_rank=1536, routed_scaling_factor=16.0,
        scoring_func="softmax", topk_group=3, topk_method="group_limited_greedy", vocab_size=102400, rope_scaling=V2_YARN,
        bos_token_id=100000, eos_token_id=100001),
    "deepseek-v2-lite": deepseek(
        "DeepseekV2ForCausalLM", "deepseek_v2", first_k_dense_replace=1, hidden_size=2048, intermediate_size=10944,
        moe_intermediate_size=1408, n_group=1, n_routed_experts=64, n_shared_experts=2, norm_topk_prob=False, num_attention_heads=16,
        num_experts_per_tok=6, num_hidden_layers=27, num_key_value_heads=16, q_lora_rank=None, routed_scaling_factor=1.0,
        scoring_func="softmax", topk_group=1, topk_method="greedy", vocab_size=102400, rope_scaling=V2_YARN,
        bos_token_id=100000, eos_token_id=100001),
    "deepseek-llm-67b": {
        "architectures": ["LlamaForCausalLM"], "bos_token_id": 100000, "eos_token_id": 100001, "hidden_act": "silu", "hidden_size": 8192,
        "initializer_range": 0.02, "intermediate_size": 22016, "max_position_embeddings": 4096, "model_type": "llama",
        "num_attention_heads": 64, "num_hidden_layers": 95, "num_key_value_heads": 8, "pretraining_tp": 1, "rms_norm_eps": 1e-06,
        "rope_scaling": None, "rope_theta": 10000.0, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
        "transformers_version": "4.33.1", "use_cache": True, "vocab_size": 102400},
    "smollm2-135m": {
        "architectures": ["LlamaForCausalLM"], "attention_bias": False, "attention_dropout": 0.0, "bos_token_id": 1, "eos_token_id": 2,
        "hidden_act": "silu", "hidden_size": 576, "initializer_range": 0.041666666666666664, "intermediate_size": 1536,
        "is_llama_config": True, "max_position_embeddings": 8192, "mlp_bias": False, "model_type": "llama", "num_attention_heads": 9,
        "num_hidden_layers": 30, "num_key_value_heads": 3, "pad_token_id": 2, "pretraining_tp": 1, "rms_norm_eps": 1e-05,
        "rope_interleaved": False, "rope_scaling": None, "rope_theta": 100000, "tie_word_embeddings": True, "torch_dtype": "bfloat16",
        "transformers.js_config": {"kv_cache_dtype": {"q4f16": "float16", "fp16": "float16"}}, "transformers_version": "4.42.3",
        "use_cache": True, "vocab_size": 49152},
    "llama-3.1-8b": {
        "architectures": ["LlamaForCausalLM"], "attention_bias": False, "attention_dropout": 0.0, "bos_token_id": 128000,
        "eos_token_id": [128001, 128008, 128009], "hidden_act": "silu", "hidden_size": 4096, "initializer_range": 0.02,
        "intermediate_size": 14336, "max_position_embeddings": 131072, "mlp_bias": False, "model_type": "llama",
        "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 8, "pretraining_tp": 1, "rms_norm_eps": 1e-05,
        "rope_scaling": {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192,
                         "rope_type": "llama3"},
        "rope_theta": 500000.0, "tie_word_embeddings": False, "torch_dtype": "bfloat16", "transformers_version": "4.42.3",
        "use_cache": True, "vocab_size": 128256},
    "deepseek-r1-distill-qwen-7b": {
        "architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 151643, "eos_token_id": 151643,
        "hidden_act": "silu", "hidden_size": 3584, "initializer_range": 0.02, "intermediate_size": 18944,
        "max_position_embeddings": 131072, "max_window_layers": 28, "model_type": "qwen2", "num_attention_heads": 28,
        "num_hidden_layers": 28, "num_key_value_heads": 4, "rms_norm_eps": 1e-06, "rope_theta": 10000, "sliding_window": 4096,
        "tie_word_embeddings": False, "torch_dtype": "bfloat16", "transformers_version": "4.44.0", "use_cache": True,
        "use_mrope": False, "use_sliding_window": False, "vocab_size": 152064},
}

if __name__ == "__main__":
    for name, config in CONFIGS.items():
        (HERE / f"{name}.json").write_text(json.dumps(config, indent=2) + "\n")
