"""Measurements of networks: parameters, multiply-adds, time, memory and energy."""
