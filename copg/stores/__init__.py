"""Values computed once in their life: log-probabilities of references, and rewards."""
