"""Comparison with a committed baseline."""
