"""Machines, volumes and secrets of tasks on Kubernetes: one description of a pod, two renderers."""
