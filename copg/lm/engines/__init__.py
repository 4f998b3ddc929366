"""Engines that draw completions: each file is one, found by its name; see ``copg.lm.generation.Engine``."""
