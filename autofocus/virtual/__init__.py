"""A virtual microscope: a stage with the vices of real ones and a camera that shows recorded or simulated planes."""
