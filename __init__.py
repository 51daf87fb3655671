"""Signed focus scores of white-blood-cell images, and the best plane of a z-stack."""
