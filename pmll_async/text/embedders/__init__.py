"""Embedders that need a package of their own: one module each, imported from there."""
