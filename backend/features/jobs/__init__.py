"""Long work: state, progress, result."""
