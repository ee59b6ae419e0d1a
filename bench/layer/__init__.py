"""Benchmarks of single layers."""
