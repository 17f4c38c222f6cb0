"""The race: candidates beside each other, and the one that is committed."""
