"""Energy of the processors and their memory, by the RAPL counters that Linux shows below powercap."""

from dataclasses import dataclass
from pathlib import Path

from curtail_dist.clock import Timepiece
from curtail_dist.energy.meters.rising import Rising
from curtail_dist.errors import ConfigError, MeterUnavailable
from curtail_dist.units import Joules, Seconds

JOULES_PER_MICROJOULE = 1e-6


@dataclass(frozen=True, kw_only=True)
class _Zone:
    folder: Path
    name: str
    """Unique: two sockets both have a `dram`."""
    wraps_at: Joules


class RaplMeter:
    """The zones `package-N` and `dram`, added up.

    `core` and `uncore` are parts of a package; `psys` holds the packages and is not on every machine; the
    `intel-rapl-mmio` zones show the packages a second time. None of them is counted. AMD's processors show
    their packages under the same names.
    """

    def __init__(self, *, clock: Timepiece, max_gap_s: Seconds, root: Path) -> None:
        """Find the zones below `root`.

        Args:
            clock: Tells the gap between two readings; stays its owner's.
            max_gap_s: Longest such gap; counters wrap, often after 262 kJ, and in a long one more than once.
            root: Where the zones are.

        Raises:
            ConfigError: There is none, or it may not be read.
        """
        self._clock = clock
        self._root = root
        self._zones = _zones(root)
        if not self._zones:
            raise ConfigError(
                f"meter.kind is rapl and {root} has no intel-rapl package zone; it must, on the machine "
                "itself (not in most virtual machines): modprobe intel_rapl_msr, or use another kind"
            )
        ranges = {zone.name: zone.wraps_at for zone in self._zones}
        self._rising = Rising(what="the RAPL counters", max_gap_s=max_gap_s, ranges=ranges)
        for zone in self._zones:
            _number(zone.folder / "energy_uj")

    @property
    def source(self) -> str:
        """The directory."""
        return f"RAPL below {self._root}"

    @property
    def covers(self) -> str:
        """The zones."""
        names = ", ".join(zone.name for zone in self._zones)
        return f"processors ({names}); not GPUs, disks, fans or power supplies"

    @property
    def stated(self) -> Joules:
        """Nothing: all is measured."""
        return 0.0

    def read(self) -> Joules:
        """Return what the zones drew since the first reading; see Meter."""
        try:
            values = {
                zone.name: _number(zone.folder / "energy_uj") * JOULES_PER_MICROJOULE for zone in self._zones
            }
        except ConfigError as error:
            raise MeterUnavailable(str(error)) from error
        return self._rising.advance(values, self._clock.now())

    def close(self) -> None:
        """Do nothing: no file stays open."""


def _zones(root: Path) -> list[_Zone]:
    found: list[_Zone] = []
    for folder in sorted(root.glob("intel-rapl:*")):
        name = _text(folder / "name")
        if name.startswith("package") or name == "dram":
            number = folder.name.partition(":")[2]
            wraps_at = _number(folder / "max_energy_range_uj") * JOULES_PER_MICROJOULE
            found.append(_Zone(folder=folder, name=f"{name} {number}", wraps_at=wraps_at))
    return found


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii").strip()
    except PermissionError as error:
        raise ConfigError(
            f"{file} may not be read by this user; it must be readable to meter by RAPL: as root, chmod a+r "
            f"{file.parent.parent}/intel-rapl:*/energy_uj (holds until the next boot), or use another kind"
        ) from error
    except OSError as error:
        raise ConfigError(
            f"{file} cannot be read ({error.strerror}); see whether intel_rapl_msr is loaded, or use another "
            "kind of meter"
        ) from error


def _number(file: Path) -> int:
    text = _text(file)
    if not text.isdecimal():
        raise ConfigError(f"{file} says {text!r}; it must be a whole number: is this a powercap zone?")
    return int(text)
