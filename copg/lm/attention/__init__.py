"""Attention of prefix-shared rows, by name, through the attention interface of transformers."""
