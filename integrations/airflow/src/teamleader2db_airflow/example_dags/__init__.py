"""Examples, to be copied."""
