"""From the scores of a stack's slices to its best focal plane."""
