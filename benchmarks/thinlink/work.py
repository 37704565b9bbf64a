"""Compute to train with, real or played, of a length that is known."""

import time

import torch

_SIDE = 256
_CALIBRATED_S = 0.5


class TorchWork:
    """A fixed number of matrix products on one core: takes longer where something else wants that core."""

    name = "torch on one core a site"

    def __init__(self, step_s: float) -> None:
        """Find out how many make a step of `step_s`, as the machine is now."""
        self._x = torch.randn(_SIDE, _SIDE)
        self._product = torch.empty(_SIDE, _SIDE)
        self._count = 1
        taken: list[float] = []
        deadline = time.monotonic() + _CALIBRATED_S
        while time.monotonic() < deadline:
            began = time.monotonic()
            self()
            taken.append(time.monotonic() - began)
        self._count = max(1, round(step_s / sorted(taken)[len(taken) // 2]))

    def __call__(self) -> None:
        """Work."""
        for _ in range(self._count):
            torch.mm(self._x, self._x, out=self._product)


class Accelerator:
    """A step that lasts as long as it lasts and leaves the cores free, as on an accelerator."""

    name = "an accelerator, played: the cores are free"

    def __init__(self, step_s: float) -> None:
        """Last `step_s`."""
        self._step_s = step_s

    def __call__(self) -> None:
        """Wait."""
        time.sleep(self._step_s)


WORK = {"core": TorchWork, "accelerator": Accelerator}
