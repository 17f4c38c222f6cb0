"""Values: frozen, with pure functions over them; no I/O. Imports `errors` and `loop`."""
