"""Ablations: arms trained with several seeds in separate processes, and their report."""
