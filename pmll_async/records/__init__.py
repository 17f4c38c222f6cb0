"""Records: what is written, and what may follow what. Imports `values`."""
