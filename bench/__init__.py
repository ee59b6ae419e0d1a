"""Benchmarks; run them from the folder above: ``python -m bench.layer.products --help``."""
