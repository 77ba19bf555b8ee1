"""Receipts, batches of record hashes and sealed blocks, and their way to a chain."""
