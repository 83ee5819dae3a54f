"""Tasks: what a network learns of a column, a file each.

A task turns outputs and targets into a loss, scores, pictures and predictions; nothing else asks which task it is.
"""
