"""``python -m copg_pipelines``."""

from copg_pipelines.cli.main import main

main()
