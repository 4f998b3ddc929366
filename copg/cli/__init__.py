"""The command ``copg``: stages, stores, and the commands that other packages join by entry points."""
