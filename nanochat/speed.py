"""How fast a run trains: tokens a second, and its share of what the device could do at most."""

from collections.abc import Callable

import torch

PEAK_FLOPS = {
    "B200": 2.25e15,
    "GH200": 989e12,
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L4": 121e12,
    "RTX 4090": 165e12,
    "RTX 3090": 71e12,
    "V100": 125e12,
}
"""Dense products in bf16 (V100: fp16) with fp32 sums, a second, by what the device's name contains; from the
makers' data sheets. The first that fits counts."""


def peak_flops(device: torch.device) -> float | None:
    """Most operations a second of a CUDA device in bf16; None for a CPU or a device that is not listed."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak for part, peak in PEAK_FLOPS.items() if part in name), None)


class Speed:
    """Tokens a second between two looks."""

    def __init__(self, flops_per_token: int, peak: float | None, clock: Callable[[], float]) -> None:
        """Measure by `clock`, in seconds, for a device or several with `peak` operations a second."""
        self._flops_per_token = flops_per_token
        self._peak = peak
        self._clock = clock
        self._tokens = 0
        self._since = clock()

    def add(self, tokens: int) -> None:
        """Count tokens that were trained."""
        self._tokens += tokens

    def leave_out(self, seconds: float) -> None:
        """Do not count a time in which nothing was trained, such as an evaluation's."""
        self._since += seconds

    def look(self) -> tuple[float, float | None]:
        """Tokens a second since the last look, and the share of the peak (MFU: PaLM, arXiv 2204.02311)."""
        now = self._clock()
        rate = self._tokens / max(now - self._since, 1e-9)
        self._tokens, self._since = 0, now
        return rate, None if self._peak is None else rate * self._flops_per_token / self._peak
