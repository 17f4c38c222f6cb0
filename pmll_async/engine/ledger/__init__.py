"""The ledger: a lattice in memory, as growing arrays and the states drawn from them."""
