"""The engine: the inside of a lattice, private, and free to move.

The face and `moving` import it, nobody else.
"""
