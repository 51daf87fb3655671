"""Runs logged to MLflow."""
