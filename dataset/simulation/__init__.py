"""Focus stacks with known truth, by partially coherent wave optics."""
