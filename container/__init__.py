"""What the image is built and run like, without an engine: `python -m container.clean_room`, see docs/container.md."""
