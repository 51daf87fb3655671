"""A microscope that focuses itself: predict, move, verify, within limits, on any stage and camera."""
