"""Causal, windowed, grouped attention, with the rotation and the norm of its queries and keys."""
