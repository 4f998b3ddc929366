"""What a policy earns, how far it went from the reference, and whether it wins."""
