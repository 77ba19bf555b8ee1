"""Model files with manifest and hash."""
