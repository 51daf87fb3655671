"""The teacher that sees image and handcrafted features, and the student distilled from it."""
