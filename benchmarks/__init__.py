"""Benchmarks: each prints JSON lines with its own figure, a peer's from the same run, and their ratio."""
