"""Pictures: connectivity, frequencies, filters, confusion matrices and contact sheets."""
