"""The sub-commands of `pmll`."""
