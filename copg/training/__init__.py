"""The inside of ``train``: an explicit loop over whole groups, resumable bit for bit."""
