"""What lasts: versions of the run's state, their snapshots, their transfer."""
