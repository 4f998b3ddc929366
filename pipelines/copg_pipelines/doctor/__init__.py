"""What a KFP server and its cluster lack for a run, each in one line."""
