"""Reports: what a run tells, as documents, logs and plain text."""
