"""What a focus dataset is: images, stacks, labels, grouped splits, checks and simulation."""
