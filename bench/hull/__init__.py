"""Benchmarks of branch hulls."""
