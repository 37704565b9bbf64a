"""A live page of a run, from its events alone: it reads the run directory and changes nothing."""
