"""When a site may run, and what it emitted. Imports neither torch nor Vessim."""

from curtail_dist.energy.policy import Decision, Policy, PolicyMemory, build_policy
from curtail_dist.energy.signals import OutsideTrace, Reading, Signal, open_signal

__all__ = [
    "Decision",
    "OutsideTrace",
    "Policy",
    "PolicyMemory",
    "Reading",
    "Signal",
    "build_policy",
    "open_signal",
]
