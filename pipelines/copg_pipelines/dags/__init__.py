"""Dags."""
