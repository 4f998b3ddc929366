"""A made-up task with its records and a tiny reference model, and a model trained from scratch on prose."""
