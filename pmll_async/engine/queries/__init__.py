"""Queries: lines and rankings of one state."""
