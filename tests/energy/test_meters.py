import codecs
import inspect
import os
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pynvml
import pytest

from curtail_dist.config.meter import MeterConfig
from curtail_dist.energy.meters import MeterUnavailable, open_meter
from curtail_dist.energy.meters.nvml import NvmlLibrary, NvmlMeter
from curtail_dist.energy.meters.rapl import RaplMeter
from curtail_dist.energy.meters.total import ConstantMeter, SumMeter
from curtail_dist.errors import ConfigError


class Board:
    def __init__(self, millijoules, name="H100"):
        self.millijoules = millijoules
        self.name = name


class NvmlDouble:
    """As much of pynvml as is used, over boards that the test drives."""

    NVML_ERROR_NOT_SUPPORTED = 3

    class NVMLError(Exception):
        def __init__(self, value):
            super().__init__({3: "Not Supported", 9: "Driver Not Loaded", 15: "GPU is lost"}[value])
            self.value = value

    def __init__(self, *boards, driver=True):
        self.boards = boards
        self.driver = driver
        self.opened = 0

    def nvmlInit(self):
        if not self.driver:
            raise self.NVMLError(9)
        self.opened += 1

    def nvmlShutdown(self):
        self.opened -= 1

    def nvmlDeviceGetCount(self):
        return len(self.boards)

    def nvmlDeviceGetHandleByIndex(self, index):
        return self.boards[index]

    def nvmlDeviceGetName(self, handle):
        return handle.name

    def nvmlDeviceGetTotalEnergyConsumption(self, handle):
        if isinstance(handle.millijoules, Exception):
            raise handle.millijoules
        return handle.millijoules


def test_gpus_drew_what_their_counters_grew_by_since_the_first_reading(clock):
    boards = [Board(5_000_000), Board(7_000_000)]
    meter = NvmlMeter(NvmlDouble(*boards), clock=clock)
    assert meter.read() == 0.0
    boards[0].millijoules += 1_500
    boards[1].millijoules += 2_000
    assert meter.read() == pytest.approx(3.5)
    boards[1].millijoules += 500
    assert meter.read() == pytest.approx(4.0)
    assert meter.covers == "2 GPUs (H100), whole boards; not processors, memory, fans or power supplies"
    assert meter.stated == 0


def test_only_the_gpus_that_are_asked_for_count(clock):
    boards = [Board(0), Board(0), Board(0, "A100")]
    meter = NvmlMeter(NvmlDouble(*boards), clock=clock, gpus=(2,))
    meter.read()
    boards[0].millijoules = 9_000
    boards[2].millijoules = 1_000
    assert meter.read() == pytest.approx(1.0)
    assert meter.covers.startswith("1 GPU (A100)")
    assert meter.source == "NVML total energy counters of GPU 2"


def test_a_gpu_without_a_counter_is_named_and_so_is_the_way_out(clock):
    library = NvmlDouble(Board(0), Board(NvmlDouble.NVMLError(3)))
    with pytest.raises(ConfigError, match=r"GPU 1 keeps no energy counter .* kind: model"):
        NvmlMeter(library, clock=clock)
    assert library.opened == 0


@pytest.mark.parametrize("gpus", [(2,), (0, 7)])
def test_a_gpu_that_is_not_there_is_refused(clock, gpus):
    library = NvmlDouble(Board(0), Board(0))
    with pytest.raises(ConfigError, match="this machine has 2"):
        NvmlMeter(library, clock=clock, gpus=gpus)
    assert library.opened == 0


def test_a_machine_without_a_driver_or_a_gpu_is_the_user_s_error(clock):
    with pytest.raises(ConfigError, match="Driver Not Loaded"):
        NvmlMeter(NvmlDouble(driver=False), clock=clock)
    with pytest.raises(ConfigError, match="this machine has 0"):
        NvmlMeter(NvmlDouble(), clock=clock)


def test_a_gpu_that_is_lost_makes_the_energy_unknown_not_nothing(clock):
    board = Board(1_000)
    meter = NvmlMeter(NvmlDouble(board), clock=clock)
    meter.read()
    board.millijoules = NvmlDouble.NVMLError(15)
    with pytest.raises(MeterUnavailable, match="GPU is lost"):
        meter.read()
    board.millijoules = NvmlDouble.NVMLError(3)
    with pytest.raises(MeterUnavailable):
        meter.read()


def test_nvml_is_shut_down_once(clock):
    library = NvmlDouble(Board(0))
    meter = NvmlMeter(library, clock=clock)
    assert library.opened == 1
    meter.close()
    meter.close()
    assert library.opened == 0


def test_the_installed_pynvml_has_what_is_used_of_it():
    used = [name for name in vars(NvmlLibrary) if name.lower().startswith("nvml")]
    assert len(used) == 8
    for name in used:
        ours, theirs = inspect.getattr_static(NvmlLibrary, name), getattr(pynvml, name)
        if inspect.isfunction(ours):
            assert len(inspect.signature(ours).parameters) - 1 == len(inspect.signature(theirs).parameters)
    assert pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED).value == pynvml.NVML_ERROR_NOT_SUPPORTED


def powercap_zone(root, folder, name, energy_uj, max_uj=262_143_328_850):
    """Write a zone of a powercap tree, and return the tree."""
    path = root / folder
    path.mkdir(exist_ok=True)
    (path / "name").write_text(f"{name}\n")
    (path / "energy_uj").write_text(f"{energy_uj}\n")
    (path / "max_energy_range_uj").write_text(f"{max_uj}\n")
    return root


@pytest.fixture
def powercap(tmp_path):
    """Write zones below one directory."""
    return partial(powercap_zone, tmp_path)


def test_packages_and_their_memory_count_and_nothing_that_is_part_of_them(clock, powercap):
    zones = {
        "intel-rapl:0": "package-0",
        "intel-rapl:0:0": "core",
        "intel-rapl:0:1": "dram",
        "intel-rapl:1": "package-1",
        "intel-rapl:1:0": "dram",
        "intel-rapl:2": "psys",
        "intel-rapl-mmio:3": "package-0",
    }
    for folder, name in zones.items():
        root = powercap(folder, name, 10_000_000)
    meter = RaplMeter(clock=clock, max_gap_s=60.0, root=root)
    assert meter.read() == 0.0
    for folder, name in zones.items():
        powercap(folder, name, 11_000_000)
    clock.at = 10.0
    assert meter.read() == pytest.approx(4.0)
    assert "package-0 0, dram 0:1, package-1 1, dram 1:0" in meter.covers


def test_a_counter_that_wraps_goes_on(clock, powercap):
    root = powercap("intel-rapl:0", "package-0", 262_143_000_000)
    meter = RaplMeter(clock=clock, max_gap_s=60.0, root=root)
    meter.read()
    powercap("intel-rapl:0", "package-0", 671_150)
    clock.at = 30.0
    assert meter.read() == pytest.approx(1.0)


def test_after_a_gap_in_which_it_may_have_wrapped_twice_the_energy_is_unknown(clock, powercap):
    root = powercap("intel-rapl:0", "package-0", 1_000_000)
    meter = RaplMeter(clock=clock, max_gap_s=60.0, root=root)
    meter.read()
    powercap("intel-rapl:0", "package-0", 3_000_000)
    clock.at = 61.0
    with pytest.raises(MeterUnavailable, match="not read for 61 s"):
        meter.read()
    powercap("intel-rapl:0", "package-0", 4_000_000)
    clock.at = 71.0
    assert meter.read() == pytest.approx(1.0)


def test_a_machine_without_zones_and_a_zone_that_is_none_are_the_user_s_error(clock, powercap, tmp_path):
    with pytest.raises(ConfigError, match="no intel-rapl package zone"):
        RaplMeter(clock=clock, max_gap_s=60.0, root=tmp_path)
    root = powercap("intel-rapl:0", "package-0", "many")
    with pytest.raises(ConfigError, match="'many'; it must be a whole number"):
        RaplMeter(clock=clock, max_gap_s=60.0, root=root)


@contextmanager
def unprivileged():
    """As another user than root, who may read everything."""
    if os.geteuid():
        yield
        return
    codecs.lookup("ascii")  # that user may not read Python's own files, and a failed lookup is remembered
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_counter_that_may_not_be_read_says_what_to_do(clock):
    with TemporaryDirectory() as directory:
        root = Path(directory)
        root.chmod(0o755)
        powercap_zone(root, "intel-rapl:0", "package-0", 1)
        (root / "intel-rapl:0" / "energy_uj").chmod(0)
        with unprivileged(), pytest.raises(ConfigError, match=r"readable .* chmod a\+r"):
            RaplMeter(clock=clock, max_gap_s=60.0, root=root)


def test_a_counter_that_vanishes_makes_the_energy_unknown(clock, powercap):
    root = powercap("intel-rapl:0", "package-0", 1)
    meter = RaplMeter(clock=clock, max_gap_s=60.0, root=root)
    meter.read()
    (root / "intel-rapl:0" / "energy_uj").unlink()
    with pytest.raises(MeterUnavailable, match="cannot be read"):
        meter.read()


def test_a_sum_adds_up_and_tells_what_of_it_is_only_stated(clock):
    board = Board(0)
    gpus = NvmlMeter(NvmlDouble(board), clock=clock)
    meter = SumMeter([gpus, ConstantMeter(300.0, covers="the rest", clock=clock)])
    clock.at = 100.0
    assert meter.read() == 0.0
    board.millijoules = 5_000_000
    clock.at = 110.0
    assert meter.read() == pytest.approx(8000.0)
    assert meter.stated == pytest.approx(3000.0)
    assert meter.covers == gpus.covers + " + the rest"
    assert meter.source == "NVML total energy counters of GPU 0 + stated 300 W"


def test_where_one_part_is_unknown_so_is_the_sum(clock):
    boards = Board(0), Board(0)
    one, other = (NvmlMeter(NvmlDouble(board), clock=clock) for board in boards)
    meter = SumMeter([one, other])
    meter.read()
    boards[0].millijoules = NvmlDouble.NVMLError(15)
    with pytest.raises(MeterUnavailable, match="GPU is lost"):
        meter.read()


def test_a_sum_closes_its_parts(clock):
    library = NvmlDouble(Board(0))
    SumMeter([NvmlMeter(library, clock=clock)]).close()
    assert library.opened == 0


def test_the_run_file_names_the_meter_that_is_opened(clock, powercap):
    root = powercap("intel-rapl:0", "package-0", 1)
    zones = MeterConfig(kind="rapl", root=root)
    rest = MeterConfig(kind="constant", covers="the rest", watts=10.0)
    assert open_meter(MeterConfig(), clock=clock) is None
    assert isinstance(open_meter(zones, clock=clock), RaplMeter)
    both = open_meter(MeterConfig(kind="sum", parts=(zones, rest)), clock=clock)
    assert both.source == f"RAPL below {root} + stated 10 W"


def test_on_a_machine_without_nvidia_s_driver_nvml_says_so(clock):
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        with pytest.raises(ConfigError, match="see nvidia-smi, or use kind: model"):
            open_meter(MeterConfig(kind="nvml"), clock=clock)
    else:
        pynvml.nvmlShutdown()
        open_meter(MeterConfig(kind="nvml"), clock=clock).close()
