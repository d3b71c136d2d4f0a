"""Benchmarks: each figure beside a peer's from the same run. ``make bench``."""
