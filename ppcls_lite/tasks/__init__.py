"""Tasks, one per file: how a network learns a target column.

A task defines the loss, scores, pictures and predictions; no other module depends on which task it is.
"""
