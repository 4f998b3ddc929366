"""``python -m pipelines``, as the command was called in version 0.1.0: says how it is spelt now."""

from copg.cli.renamed import old_command

old_command()
