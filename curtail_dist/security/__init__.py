"""Who belongs to a run: its secret, and connections that only those who know it can open."""

from curtail_dist.security.wire import PlainWire, Wire

__all__ = ["PlainWire", "Wire"]
