"""Indexes: each module holds one, imported from there."""
