"""Training on one GPU, timed a step at a time."""
