"""Whether new images still look like those of a reference, in what they differ, and what that usually means."""
