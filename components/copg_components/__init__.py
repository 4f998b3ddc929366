"""Pipeline components: one file a stage, each only calls its stage."""

IMAGE = "copg:0.1.0-python3.11"
"""Stands in the components until the DAG is compiled, which puts the recipe's image in its place."""
