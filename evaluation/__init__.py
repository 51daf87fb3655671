"""Metrics, run folders and their comparison."""
