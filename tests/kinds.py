"""A tiny model of every causal kind that transformers has, from its own configuration class."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoModelForMultimodalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
)

from copg.lm.anatomy import text_config

KINDS = sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
BEYOND = ("llava", "mistral3", "qwen2_5_vl", "qwen3_vl", "voxtral")
"""Some that read images or sounds too, and are in no list of causal kinds."""
VOCABULARY, WINDOW, CONTEXT, LAYERS = 96, 16, 512, 4
SIZES = [
    (32, "hidden_size d_model n_embd embedding_size d_embed attention_hidden_size hidden_size_global "
         "adapter_in_dim adapter_input_size adapter_out_dim"),
    (64, "intermediate_size ffn_dim encoder_ffn_dim decoder_ffn_dim n_inner dim_ff dff intermediate_size_mlp "
         "moe_intermediate_size shared_expert_intermediate_size dense_intermediate_size ffn_hidden_size "
         "shared_intermediate_size expert_ffn_hidden_size shared_experts_intermediate_size feed_forward_size "
         "moe_shared_expert_intermediate_size"),
    (4, "num_attention_heads n_head n_heads encoder_attention_heads decoder_attention_heads num_experts "
        "swa_num_attention_heads n_routed_experts num_local_experts moe_num_experts linear_num_heads "
        "linear_num_value_heads mamba_n_heads num_heads index_n_heads num_global_heads"),
    (2, "num_key_value_heads swa_num_key_value_heads linear_num_key_heads num_experts_per_tok moe_topk moe_k "
        "num_kv_heads mamba_n_groups num_experts_per_token"),
    (1, "n_group topk_group n_shared_experts zero_expert_num n_groups num_expert_group num_shared_experts"),
    (8, "head_dim swa_head_dim v_head_dim qk_rope_head_dim qk_nope_head_dim kv_channels dim_head rotary_dim "
        "linear_head_dim linear_key_head_dim linear_value_head_dim index_head_dim block_size d_rel "
        "hidden_size_per_layer_input"),
    (16, "kv_lora_rank q_lora_rank o_lora_rank mamba_d_state mamba_d_head state_size mamba_chunk_size "
         "chunk_size time_step_rank mamba_dt_rank ssm_state_size mamba_head_dim sliding_window rel_extent "
         "sliding_window_size attention_chunk_size window_size attention_window_size keep_window_size"),
    (CONTEXT, "max_position_embeddings n_positions n_ctx max_seq_len model_max_length"),
    (VOCABULARY, "vocab_size decoder_vocab_size vocab_size_per_layer_input encoder_hash_byte_group_vocab"),
]  # fmt: skip
"""Sizes that a tiny model has, by the names that configurations have for them."""
DEPTHS = "num_hidden_layers n_layer n_layers num_layers encoder_layers decoder_layers"
TOKENS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
BOTH = ["sliding_attention", "full_attention"] * (LAYERS // 2)
_QWEN4 = {
    **{"indexer_n_heads": 4, "indexer_kv_heads": 1, "indexer_head_dim": 8, "indexer_budget": 16},
    **{"indexer_compress_ratio": 4, "hc_lowrank": 8, "ngram_vocab_size_base": 96, "ple_embed_dim": 32},
    **{"split_ngram_parts": 1, "make_ngram_vocab_size_divisible_by": 8},
}
_WINDOW = {"use_sliding_window": True, "sliding_window": WINDOW, "layer_types": BOTH}
_HYBRID = ["linear_attention", "hybrid"] * (LAYERS // 2)
_ROPE = {"rope_type": "default", "rope_theta": 1e4}
OWN: dict[str, dict[str, Any]] = {
    **{kind: {"index_topk": WINDOW} for kind in ("axk2", "dots3_note", "dots3_note_text", "hy_v4")},
    **{kind: {"index_topk": WINDOW} for kind in ("deepseek_v32", "glm_moe_dsa")},
    **{kind: {"sliding_window": WINDOW} for kind in ("mixtral", "phi3", "phi4_multimodal", "phimoe")},
    **{kind: {"sliding_window": WINDOW} for kind in ("ministral3", "starcoder2")},
    **{kind: {"sliding_window": WINDOW, "layer_types": BOTH} for kind in ("laguna", "mellum")},
    **dict.fromkeys(("qwen2", "qwen2_moe", "qwen3", "smollm3"), _WINDOW),
    "qwen3_moe": {"use_sliding_window": True, "sliding_window": WINDOW},
    "bamba": {"attn_layer_indices": [1, 3]},
    "cohere_compass_text": {
        "layer_types": BOTH,
        "rope_parameters": {"sliding_attention": _ROPE, "full_attention": _ROPE},
    },
    "dbrx": {
        "attn_config": {"kv_n_heads": 2, "rope_theta": 1e4, "clip_qkv": 8.0},
        "ffn_config": {"ffn_hidden_size": 64, "moe_num_experts": 4, "moe_top_k": 2},
    },
    "deepseek_v2": {"num_experts_per_tok": 2},
    "deepseek_v4": {
        "compress_rates": {"compressed_sparse_attention": 4, "heavily_compressed_attention": 8},
        "index_topk": WINDOW,
    },
    "dots1": {
        "sliding_window": WINDOW,
        "layer_types": BOTH,
        "n_routed_experts": 4,
        "n_shared_experts": 1,
        "num_experts_per_tok": 2,
    },
    "falcon_h1": {"mamba_d_ssm": 64, "ssm_multipliers": [1.0] * 5},
    "gemma3n_text": {"layer_types": BOTH, "num_kv_shared_layers": 2},
    "gemma3n": {"layer_types": BOTH, "num_kv_shared_layers": 2},
    "gemma4_unified_assistant": {
        "hidden_size_per_layer_input": 0,
        "num_kv_shared_layers": 2,
        "layer_types": BOTH,
    },
    "gpt_neo": {"attention_types": [[["global", "local"], LAYERS // 2]]},
    "granitemoehybrid": {"layer_types": ["linear_attention", "full_attention"] * (LAYERS // 2)},
    "hunyuan_v1_dense": {"head_dim": 8},
    "hunyuan_v1_moe": {"head_dim": 8},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "lfm2": {"layer_types": ["conv", "full_attention"] * (LAYERS // 2)},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * (LAYERS // 2)},
    "mamba2": {"head_dim": 16},
    "ministral": {"head_dim": 8},
    "nemotron": {"num_key_value_heads": 2},
    "qwen4_exp_text": _QWEN4,
    "qwen4_exp": _QWEN4,
    "mistral3": {"sliding_window": WINDOW},
    "qwen2_5_vl": {"rope_parameters": {**_ROPE, "mrope_section": [1, 1, 2]}},
    "reformer": {"axial_pos_embds": False, "attn_layers": ["local", "lsh"] * (LAYERS // 2)},
    "xlm": {"emb_dim": 32, "causal": True},
    "xlnet": {"d_inner": 64, "attn_type": "uni"},
    "xmod": {"default_language": "en_XX"},
    "zamba": {"attention_hidden_size": 64, "layers_block_type": _HYBRID},
    "zamba2": {"attention_hidden_size": 64, "layers_block_type": _HYBRID, "hybrid_layer_ids": [1, 3]},
    "zaya": {"num_experts_per_tok": 1},
}
"""What a kind needs beside its sizes: layers of each kind that published models have, and windows, of chosen
tokens too, that sequences leave behind."""
_CODES = "transformers does not build it from this configuration: it writes codes of sounds, no text"
UNBUILT = {
    "gemma3n": "transformers needs the package timm for it; gemma3n_text needs none",
    "gemma4_assistant": "it drafts for another Gemma 4 and takes that one's keys and values with every token",
    "musicgen": _CODES,
    "musicgen_melody": _CODES,
}
"""Kinds that transformers does not build here, and why."""


def tiny_config(kind: str) -> Any:
    """A configuration of a kind, small, with a layer of each of its kinds among the first."""
    given = CONFIG_MAPPING[kind]()
    text = text_config(given)
    if text is given:
        return type(given)(**_inner(given) | shrink(given) | OWN.get(kind, {}))
    return type(given)(**_inner(given, text=OWN.get(kind, {})))


def _inner(given: Any, text: dict[str, Any] | None = None) -> dict[str, Any]:
    """The configurations inside of one, small as well; ``text`` is what that of the language model needs."""
    found, of_text = {}, text_config(given)
    for name in type(given).sub_configs:
        inner = getattr(given, name, None)
        if inner is not None and hasattr(inner, "to_dict"):
            settings = shrink(inner) | (text or {} if inner is of_text else {})
            found[name] = type(inner)(**_inner(inner), **settings).to_dict()
    return found


def shrink(config: Any) -> dict[str, Any]:
    """What of a configuration makes a tiny model of the same kind."""
    known = config.to_dict()
    sizes = {name: value for value, names in SIZES for name in names.split()}
    sizes |= dict.fromkeys(DEPTHS.split(), LAYERS)
    found = {name: value for name, value in sizes.items() if type(known.get(name)) is int}
    if (
        known.get("num_key_value_heads") == known.get("num_attention_heads")
        and "num_key_value_heads" in found
    ):
        found["num_key_value_heads"] = found["num_attention_heads"]  # of MLA they must be as many
    for name, value in known.items():
        if isinstance(value, list | tuple) and len(value) > LAYERS and not name.startswith("_"):
            found[name] = _one_of_each(list(value))
    if known.get("is_decoder") is False:
        found["is_decoder"] = True
    return found | {name: value for name, value in TOKENS.items() if name in known}


def _one_of_each(values: list[Any]) -> list[Any]:
    """As many as there are layers, every distinct one among them."""
    if not all(isinstance(value, str | int | bool) for value in values):
        return values[:LAYERS]
    distinct = list(dict.fromkeys(values))[:LAYERS]
    return (values[:1] * (LAYERS - len(distinct)) + distinct)[:LAYERS]


def save_kind(kind: str, folder: Path) -> Path:
    """A model directory of the kind, with random weights, spread enough for completions to differ."""
    config = tiny_config(kind)
    auto = AutoModelForMultimodalLM if kind in BEYOND else AutoModelForCausalLM
    torch.manual_seed(0)
    model = auto.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                parameter.mul_(3.0)
    model.save_pretrained(folder)
    known = kind in BEYOND or type(model.config) in MODEL_FOR_CAUSAL_LM_MAPPING
    if not known:  # as of a part, which no loader would know
        tiny_config(kind).save_pretrained(folder)
    return folder
