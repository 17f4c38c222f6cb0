"""Moving: the same memory elsewhere, or with other vectors."""
