"""Speed, memory and cost beside the peers: each module is a script, ``python -m benchmarks.<name>``."""
