"""One generator of hostile input for everything that a stranger, or an accident, can hand to copg."""
