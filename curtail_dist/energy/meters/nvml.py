"""Energy of NVIDIA GPUs, by the counters that their boards keep (Volta and newer)."""

# ruff: noqa: N802 - the protocol has the names of the library that it describes.

import importlib
from collections.abc import Sequence
from typing import Any, Protocol, cast

from curtail_dist.clock import Timepiece
from curtail_dist.energy.meters.rising import Rising
from curtail_dist.errors import ConfigError, MeterUnavailable
from curtail_dist.units import Joules

JOULES_PER_MILLIJOULE = 1e-3


class NvmlLibrary(Protocol):
    """What is used of `pynvml`, the module of nvidia-ml-py."""

    @property
    def NVMLError(self) -> type[Exception]:
        """Base of its errors; each has the code in `value`."""
        ...

    @property
    def NVML_ERROR_NOT_SUPPORTED(self) -> int:
        """Code of a question that this GPU cannot answer."""
        ...

    def nvmlInit(self) -> None:
        """Load the driver's library; counted, each call needs a shutdown."""
        ...

    def nvmlShutdown(self) -> None:
        """Take one nvmlInit back."""
        ...

    def nvmlDeviceGetCount(self) -> int:
        """Return how many GPUs this machine has."""
        ...

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Any:
        """Return what stands for a GPU in other calls."""
        ...

    def nvmlDeviceGetName(self, handle: Any) -> str:
        """Return the product name."""
        ...

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: Any) -> int:
        """Return the millijoules drawn since the driver was loaded."""
        ...


def load_nvml() -> NvmlLibrary:
    """Import the library. Raises ConfigError where it is not installed."""
    try:
        return cast("NvmlLibrary", importlib.import_module("pynvml"))
    except ImportError as error:
        raise ConfigError(
            "meter.kind is nvml and nvidia-ml-py is not installed; pip install curtail-dist[nvml]"
        ) from error


class NvmlMeter:
    """The counters of some GPUs of this machine, whole boards, added up.

    Whoever else computes on them is counted, too. NVML takes no notice of CUDA_VISIBLE_DEVICES.
    """

    def __init__(self, library: NvmlLibrary, *, clock: Timepiece, gpus: Sequence[int] | None = None) -> None:
        """Open the GPUs with these numbers, by default all; `clock` stays its owner's.

        Raises ConfigError where there is no driver, no such GPU, or one without a counter.
        """
        self._library = library
        self._clock = clock
        try:
            library.nvmlInit()
        except library.NVMLError as error:
            raise ConfigError(
                f"meter.kind is nvml and NVML says {error}; it must find a driver and a GPU on this machine: "
                "see nvidia-smi, or use kind: model"
            ) from error
        self._open = True
        try:
            self._handles, names = self._find(gpus)
            self._rising = Rising(what="the GPUs' energy counters")
            self._values()  # one that has no counter must be found now, not while the site trains
        except library.NVMLError as error:
            self.close()
            raise ConfigError(
                f"meter.kind is nvml and NVML says {error}; see nvidia-smi, or use kind: model"
            ) from error
        except ConfigError:
            self.close()
            raise
        models = ", ".join(sorted(set(names)))
        boards = "1 GPU" if len(names) == 1 else f"{len(names)} GPUs"
        self._covers = f"{boards} ({models}), whole boards; not processors, memory, fans or power supplies"

    @property
    def source(self) -> str:
        """NVML and which GPUs."""
        return f"NVML total energy counters of GPU {', '.join(map(str, self._handles))}"

    @property
    def covers(self) -> str:
        """The boards."""
        return self._covers

    @property
    def stated(self) -> Joules:
        """Nothing: all is measured."""
        return 0.0

    def read(self) -> Joules:
        """Return what the boards drew since the first reading; see Meter."""
        try:
            return self._rising.advance(self._values(), self._clock.now())
        except (self._library.NVMLError, ConfigError) as error:
            raise MeterUnavailable(f"NVML says {error}; see nvidia-smi") from error

    def close(self) -> None:
        """Shut NVML down, once."""
        if self._open:
            self._open = False
            self._library.nvmlShutdown()

    def _find(self, gpus: Sequence[int] | None) -> tuple[dict[int, Any], list[str]]:
        count = self._library.nvmlDeviceGetCount()
        wanted = range(count) if gpus is None else gpus
        if not wanted or max(wanted) >= count:
            asked = "all" if gpus is None else ", ".join(map(str, gpus))
            raise ConfigError(
                f"meter.gpus is {asked} and this machine has {count}; they must be numbers below that"
            )
        handles = {index: self._library.nvmlDeviceGetHandleByIndex(index) for index in wanted}
        return handles, [self._library.nvmlDeviceGetName(handle) for handle in handles.values()]

    def _values(self) -> dict[str, Joules]:
        return {f"GPU {index}": self._joules(index, handle) for index, handle in self._handles.items()}

    def _joules(self, index: int, handle: Any) -> Joules:
        library = self._library
        try:
            return library.nvmlDeviceGetTotalEnergyConsumption(handle) * JOULES_PER_MILLIJOULE
        except library.NVMLError as error:
            if getattr(error, "value", None) != library.NVML_ERROR_NOT_SUPPORTED:
                raise
            raise ConfigError(
                f"GPU {index} keeps no energy counter (those from before Volta do not); leave it out of "
                "meter.gpus, or use kind: model"
            ) from error
