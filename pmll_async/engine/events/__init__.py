"""Events: what happened, told to whoever listens, and counted."""
