"""Who belongs to a run: its secret, and connections that only those who know it can open."""

from curtail_dist.security.opening import exposure, open_wire
from curtail_dist.security.secret import RunSecret, read_secret, run_secret
from curtail_dist.security.wire import PlainWire, Wire

__all__ = ["PlainWire", "RunSecret", "Wire", "exposure", "open_wire", "read_secret", "run_secret"]
