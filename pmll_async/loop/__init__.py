"""The loop: threads, turns, and who is told of trouble.

Knows no word of memory; imports `errors` alone.
"""
