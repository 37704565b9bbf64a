"""series/*.csv: what the pictures draw, in numbers, one file a series, with the units in the header.

Each line begins with the name of its run: the reported one and those that it is compared with. Hours are run
time, from that run's start. Where something is not known the field is empty.
"""

import csv
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from curtail_dist.report.paper.course import Course, Courses
from curtail_dist.report.paper.learned import byte_perplexity, perplexity
from curtail_dist.report.whole import Whole
from curtail_dist.units import Seconds, hours

FOLDER = "series"
_Line = tuple[str | float | None, ...]


def write_series(run_dir: Path, runs: Mapping[str, Whole], courses: Courses) -> list[Path]:
    """Write all series into `run_dir`/series and return the files."""
    folder = run_dir / FOLDER
    folder.mkdir(exist_ok=True)
    alike = courses.runs
    smooth = f"smoothed_perplexity_half_life_{courses.half_life_tokens:.0f}_tokens"
    learning = ["run", "site", "run_time_h", "tokens_trained", "loss_nats_per_token"]
    return [
        _write(folder / "training.csv", [*learning, "perplexity_per_token", smooth], map(_training, alike)),
        _write(
            folder / "held_out.csv",
            ["run", "version", "run_time_h", "tokens_trained", "bits_per_byte", "perplexity_per_byte"],
            map(_held_out, alike),
        ),
        _write(
            folder / "power.csv",
            ["run", "site", "phase", "from_h", "to_h", "power_kw"],
            (
                [(run.name, d.site, d.phase, *_span(d.start, d.stop), d.kw) for d in run.drawn]
                for run in alike
            ),
        ),
        _write(
            folder / "emissions.csv",
            ["run", "site", "phase", "from_h", "to_h", "marginal_kg_co2_per_h"],
            (
                [(run.name, d.site, d.phase, *_span(d.start, d.stop), d.kg_per_h) for d in run.drawn]
                for run in alike
            ),
        ),
        _write(
            folder / "intensity.csv",
            ["run", "site", "from_h", "to_h", "g_co2_per_kwh", "threshold_g_co2_per_kwh"],
            (_intensity(name, run) for name, run in runs.items()),
        ),
        _write(
            folder / "versions.csv",
            ["run", "version", "run_time_h", "chain_tokens", "chain_rows"],
            (
                [(name, c.version, hours(c.t), c.tokens, c.rows) for c in run.history.chain]
                for name, run in runs.items()
            ),
        ),
    ]


def _write(file: Path, titles: list[str], lines: Iterable[Iterable[_Line]]) -> Path:
    with file.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(titles)
        for own in lines:
            writer.writerows(own)
    return file


def _span(start: Seconds, stop: Seconds) -> tuple[float, float]:
    return hours(start), hours(stop)


def _training(run: Course) -> Iterator[_Line]:
    for step, smooth in zip(run.steps, run.smoothed, strict=True):
        raw = None if step.loss is None else perplexity(step.loss)
        yield run.name, step.site, hours(step.t), step.by_then, step.loss, raw, smooth


def _held_out(run: Course) -> Iterator[_Line]:
    for one in run.held_out:
        bits = one.bits_per_byte
        yield run.name, one.version, hours(one.t), one.tokens, bits, byte_perplexity(bits)


def _intensity(name: str, run: Whole) -> Iterator[_Line]:
    """What was read until the run's end; the outlook beyond it is no part of the run."""
    for site in run.history.sites.values():
        for low, high, value in site.intensity.pieces(0.0, run.history.stop):
            yield name, site.name, *_span(low, high), value, site.threshold_g_per_kwh
