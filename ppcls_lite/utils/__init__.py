"""Errors, text, files, locks, signals, logs, processes, and the machine's device, memory and threads."""
