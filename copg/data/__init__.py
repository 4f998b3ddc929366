"""Inside of the validate stage: checks, the order of records on disk, pooling of completions, data docs."""
