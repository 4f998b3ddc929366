"""Language models: loading, rows of tokens, attention, log-probabilities, completions."""
