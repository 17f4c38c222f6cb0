"""Stores: each module holds one backend, imported from there."""
