"""The stages of the pipeline: each reads finished artifacts and leaves one. They never import one another."""
