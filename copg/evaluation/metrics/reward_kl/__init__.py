"""Reward and KL of a policy."""
