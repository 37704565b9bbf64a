"""A small web chat with a run's newest model."""
