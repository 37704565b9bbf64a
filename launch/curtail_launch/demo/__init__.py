"""A published curtailment day, played in minutes on one machine."""
