"""What a run leaves: its folder, checkpoints, result and dashboard, and how it goes on from them."""
