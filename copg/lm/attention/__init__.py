"""Attention of prefix-shared rows, by name, through the attention interface of transformers."""

from copg.lm.attention.dispatch import resolve_attention, use_prefix_attention
from copg.lm.attention.layout import Layout, visible_keys

__all__ = ["Layout", "resolve_attention", "use_prefix_attention", "visible_keys"]
