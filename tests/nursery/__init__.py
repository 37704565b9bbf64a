"""Rank processes for tests, forked from one in which torch is loaded: a start takes no seconds."""

from nursery.ranks import Nursery, Ranks

__all__ = ["Nursery", "Ranks"]
