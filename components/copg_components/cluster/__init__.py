"""What a component needs of Kubernetes while it runs: a training over several nodes."""
