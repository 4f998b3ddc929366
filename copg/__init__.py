"""Contrastive Policy Gradient (CoPG): align a language model on any score, from logged data."""

__version__ = "0.1.0"
