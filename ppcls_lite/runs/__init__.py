"""The output of a run: its folder, checkpoints, result and dashboard; resuming from them."""
