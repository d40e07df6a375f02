"""Parallel sentences: read, tokenised, and drawn into batches."""
