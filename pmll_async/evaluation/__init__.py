"""Evaluation: how well text recall finds what it should, measured on published data sets."""
