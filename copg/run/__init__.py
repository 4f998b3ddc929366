"""From a recipe to a plan, and the record of what became of each task."""
