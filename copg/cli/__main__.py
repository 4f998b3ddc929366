"""``python -m copg.cli``: the command ``copg``."""

from copg.cli.main import main

main()
