"""Comparisons: arms by seeds, run in processes of their own, and what they show."""
