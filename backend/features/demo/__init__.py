"""Demo data, sample identifiers and the demonstration clock."""
