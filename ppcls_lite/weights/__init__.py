"""Safe reading, writing and conversion of weights files."""
