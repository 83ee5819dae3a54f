"""Pictures of data, predictions and weights."""
