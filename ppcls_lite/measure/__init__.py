"""Measurements of networks: parameters and multiply-adds, timings."""
