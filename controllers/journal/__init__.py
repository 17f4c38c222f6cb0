"""The journal: a run on the chain, and read back from there."""
