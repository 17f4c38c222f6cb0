"""One run: from where it stands to its end. Knows the journal, which does not know it."""
