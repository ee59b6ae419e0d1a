"""Benchmarks of training that sheds units."""
