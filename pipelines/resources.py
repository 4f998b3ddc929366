"""``python -m pipelines.resources``, a command of version 0.1.0: says how it is spelt now."""

import sys

from copg.cli.renamed import old_command

sys.argv.insert(1, "resources")
old_command()
