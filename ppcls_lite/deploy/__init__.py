"""From a trained network to one that runs fast: deploy form, export, the runtimes, foreign weights."""
