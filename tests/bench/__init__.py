"""Benchmarks: `python -m tests.bench` measures the lattice beside its floors and its peers."""
