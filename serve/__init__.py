"""Scores and picks over HTTP, and a page to drop a stack on. Scoring needs LiteRT, never TensorFlow."""
