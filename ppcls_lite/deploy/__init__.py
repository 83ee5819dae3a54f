"""From a trained network to fast inference: rewriting, export, runtimes and prediction."""
