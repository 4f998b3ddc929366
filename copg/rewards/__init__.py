"""Rewards of whole completions."""
