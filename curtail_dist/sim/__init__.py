"""Deterministic simulation of the protocol: virtual time, seeded faults, every invariant checked."""
