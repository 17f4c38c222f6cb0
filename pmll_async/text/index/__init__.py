"""The text index: which lines hold which terms, behind the log by nothing, kept in a file."""
