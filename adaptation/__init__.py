"""A model of one's own: unlabelled stacks label themselves, and a few of them adapt a model to their microscope."""
