"""A tiny model of every kind of causal language model that transformers has, from its own configuration class."""

from typing import Any

from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

KINDS = sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
VOCABULARY, WINDOW, CONTEXT, LAYERS = 64, 16, 512, 4
SIZES = {
    32: ("hidden_size", "d_model", "n_embd", "embedding_size", "d_embed", "attention_hidden_size"),
    64: ("intermediate_size", "ffn_dim", "encoder_ffn_dim", "decoder_ffn_dim", "n_inner", "dim_ff", "dff",
         "moe_intermediate_size", "shared_expert_intermediate_size", "dense_intermediate_size",
         "shared_intermediate_size", "intermediate_size_mlp", "ffn_hidden_size", "expert_ffn_hidden_size",
         "shared_experts_intermediate_size", "moe_shared_expert_intermediate_size"),
    4: ("num_attention_heads", "n_head", "n_heads", "encoder_attention_heads", "decoder_attention_heads",
        "swa_num_attention_heads", "num_experts", "n_routed_experts", "num_local_experts", "moe_num_experts",
        "linear_num_heads", "linear_num_value_heads", "mamba_n_heads", "num_heads", "index_n_heads"),
    2: ("num_key_value_heads", "swa_num_key_value_heads", "linear_num_key_heads", "num_experts_per_tok",
        "moe_topk", "moe_k", "num_kv_heads", "mamba_n_groups", "n_groups", "num_experts_per_token"),
    1: ("n_group", "topk_group", "n_shared_experts", "zero_expert_num", "attention_head_groups"),
    8: ("head_dim", "swa_head_dim", "v_head_dim", "qk_rope_head_dim", "qk_nope_head_dim", "kv_channels", "dim_head",
        "linear_head_dim", "linear_key_head_dim", "linear_value_head_dim", "index_head_dim", "rotary_dim",
        "block_size", "d_rel", "global_head_dim"),
    16: ("kv_lora_rank", "q_lora_rank", "o_lora_rank", "mamba_d_state", "mamba_d_head", "state_size",
         "mamba_chunk_size", "chunk_size", "time_step_rank", "mamba_dt_rank", "ssm_state_size", "mamba_head_dim"),
    CONTEXT: ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len"),
    VOCABULARY: ("vocab_size", "decoder_vocab_size", "vocab_size_per_layer_input"),
    WINDOW: ("sliding_window", "sliding_window_size", "attention_chunk_size", "window_size",
             "attention_window_size", "keep_window_size", "rel_extent"),
}  # fmt: skip
"""Sizes that a tiny model has, by the names that configurations have for them."""
DEPTHS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers", "decoder_layers")
TOKENS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


def shrink(config: Any, *, layers: int = LAYERS) -> dict[str, Any]:
    """What of a configuration makes a tiny model of the same kind."""
    found = {name: value for value, names in SIZES.items() for name in names if _is_size(config, name)}
    found |= {name: layers for name in DEPTHS if _is_size(config, name)}
    return found | {name: value for name, value in TOKENS.items() if hasattr(config, name)}


def _is_size(config: Any, name: str) -> bool:
    value = getattr(config, name, None)
    return isinstance(value, int) and not isinstance(value, bool)
