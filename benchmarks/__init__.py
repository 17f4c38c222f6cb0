"""Benchmarks: `python -m benchmarks` measures the lattice beside its floors and its peers."""
