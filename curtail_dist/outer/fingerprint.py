"""A hash of what this machine's arithmetic makes of fixed numbers.

Members of a run compute the same outer step each for itself and must get the same bytes. CPU families can
differ in the last bit (vector widths, fused multiplications): such a site is told so when it joins, not by a
vote hours later.
"""

import hashlib

import torch

from curtail_dist.outer.anchor import Anchor
from curtail_dist.outer.codec import CODECS, average
from curtail_dist.outer.nesterov import Nesterov

_SIZE = 4099
"""Not a multiple of any vector width."""


def fingerprint() -> str:
    """Return the hash of two outer steps (Nesterov) on the weighted mean of three fixed payloads."""
    generator, plain = torch.Generator("cpu").manual_seed(20), CODECS["fp32"]

    def drawn() -> torch.Tensor:
        return torch.randn(_SIZE, generator=generator, dtype=torch.float32, device="cpu")

    anchor = Anchor(0, {"x": drawn()}, Nesterov)
    for _ in range(2):
        payloads = [plain.encode(drawn()) for _ in range(3)]
        anchor = anchor.stepped({"x": average(plain, payloads, [3.0, 7.0, 11.0], _SIZE)})
    return hashlib.sha256(anchor.version.hash.encode()).hexdigest()
