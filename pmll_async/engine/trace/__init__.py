"""The trace: the one writer."""
