"""Carbon intensity asked over the network: one module a provider, and what they share.

A provider asks once and says what it was told (`Answer`), or why it was told nothing (`ProviderFailure`).
When it is asked, in a thread of its own, and how long an answer holds, is the matter of `live`.
"""

from curtail_dist.energy.providers.chain import Chain
from curtail_dist.energy.providers.live import LiveSignal
from curtail_dist.energy.providers.opening import open_live

__all__ = ["Chain", "LiveSignal", "open_live"]
