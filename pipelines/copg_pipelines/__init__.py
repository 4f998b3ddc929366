"""The DAGs, and the command that compiles and runs them."""
