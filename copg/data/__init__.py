"""Files of records in, groups out: readers, checks, the order on disk, pooling of completions, data docs."""
