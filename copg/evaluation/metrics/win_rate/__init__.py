"""How often one policy's completion earns more than another's."""
