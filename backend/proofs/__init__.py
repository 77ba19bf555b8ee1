"""What makes a record checkable by strangers: hashes, Merkle trees, receipts, checkpoints. Pure."""
