"""`curtail demo`: a published curtailment day in minutes, on real parts."""

import argparse
import json
from itertools import count
from pathlib import Path
from typing import Any

from rich.console import Console

from curtail_dist.cli.writable import require_writable
from curtail_dist.config import RunConfig
from curtail_dist.config.reader import load_yaml
from curtail_dist.errors import ConfigError, CurtailError
from curtail_dist.report.build import write_report
from curtail_dist.telemetry.record import EventLog
from curtail_dist.units import SECONDS_PER_HOUR, Seconds
from curtail_launch.demo.day import DAYS, MARGIN_S
from curtail_launch.demo.director import Executioner, Kill, follow
from curtail_launch.demo.ending import ending_lines
from curtail_launch.demo.script import Material, Wishes, baseline_tree, prepare, run_tree, write_run_file
from curtail_launch.demo.stage import set_stage
from curtail_launch.settings import read_recipe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Name the verb's arguments."""
    parser.add_argument("--out", type=Path, default=Path("runs/demo"), help="run directory (runs/demo)")
    parser.add_argument("--day", default="published", help=f"the day to play: {', '.join(DAYS)}")
    parser.add_argument("--sites", type=int, default=3, help="how many of the day's sites take part (3)")
    parser.add_argument("--minutes", type=float, default=1.0, help="about how long to train (1)")
    parser.add_argument("--seed", type=int, default=1, help="seeds corpus, model, row order and traces (1)")
    parser.add_argument("--kill", metavar="SITE@N", help="SIGKILL of SITE's ranks inside its N-th round")
    parser.add_argument("--baseline", action="store_true", help="also train the same at one always-on site")
    parser.add_argument("--energy", default="trace", help="where intensities come from: trace or vessim")
    parser.add_argument(
        "--provisioner",
        type=Path,
        metavar="FILE.yaml",
        help="a run file's `provisioner` block, in place of each site's",
    )


def run(args: argparse.Namespace) -> int:
    """Play, write the report, and return 1 where the run did not finish."""
    wishes = Wishes(
        out=args.out.absolute(),
        day=args.day,
        sites=args.sites,
        minutes=args.minutes,
        seed=args.seed,
        energy=args.energy,
        provisioner=None if args.provisioner is None else load_yaml(args.provisioner),
    )
    names = list(DAYS[wishes.day].windows)[: wishes.sites]
    kill = Kill.parse(args.kill, names) if args.kill else None
    console = Console()
    _say(
        console, f"A curtailment day at {len(names)} sites: {', '.join(names)}. Real training, virtual time."
    )
    _make_room(wishes.out, console)
    require_writable(wishes.out, "--out")
    material = prepare(wishes)
    _say(console, f"Corpus and tokenizer: {material.tokens:,} tokens of this Python's own library.")
    finished, missed = _play(wishes, material, console, kill)
    if args.baseline:
        _say(console, "The same once more at one site that is always on, to compare what was learned.")
        _play_baseline(wishes, material, console)
    write_report(wishes.out)
    summary = json.loads((wishes.out / "summary.json").read_text(encoding="utf-8"))
    for line in ending_lines(summary, wishes.out):
        _say(console, line)
    if missed is not None:
        raise ConfigError(
            f"--kill {missed.site}@{missed.round} never came: the site took part in fewer rounds"
        )
    return 0 if finished else 1


def _play(
    wishes: Wishes, material: Material, console: Console, kill: Kill | None
) -> tuple[bool, Kill | None]:
    """Return whether the run finished, and the kill if it did not come to that."""
    with set_stage() as stage:
        tree = run_tree(wishes, material, etcd=stage.etcd, clock=stage.clock.endpoint)
        config, run_file = _checked(tree)
        stage.start_agents(run_file, list(config.sites), config.run.directory / "logs")
        if kill is None:
            return follow(stage, wishes.out, horizon=_horizon(config), console=console), None
        with EventLog(wishes.out, site="demo", process="director", clock=stage.clock) as events:
            executioner = Executioner(kill, events)
            finished = follow(
                stage, wishes.out, horizon=_horizon(config), console=console, executioner=executioner
            )
    return finished, None if executioner.fired else kill


def _play_baseline(wishes: Wishes, material: Material, console: Console) -> None:
    with set_stage() as stage:
        tree = baseline_tree(wishes, material, etcd=stage.etcd, clock=stage.clock.endpoint)
        config, run_file = _checked(tree)
        directory = config.run.directory
        stage.start_agents(run_file, list(config.sites), directory / "logs")
        if not follow(stage, directory, horizon=2 * _horizon(config), console=console):
            raise CurtailError(f"the baseline did not finish; read the logs in {directory}/logs")
    write_report(directory)


def _horizon(config: RunConfig) -> Seconds:
    """Return the run time after which the run is given up: nothing is known of the grids any more."""
    return config.run.deadline_h * SECONDS_PER_HOUR + MARGIN_S


def _checked(tree: dict[str, Any]) -> tuple[RunConfig, Path]:
    """Write the run file and check it as `curtail site` would."""
    config = RunConfig.from_mapping(tree)
    read_recipe(config)
    return config, write_run_file(tree, config.run.directory)


def _make_room(out: Path, console: Console) -> None:
    """Move an earlier run of the same directory aside: nothing is lost, and the path stays the same."""
    if not out.is_dir() or not any(out.iterdir()):
        return
    if not (out / "run.yaml").exists() and not (out / "data").exists():
        raise ConfigError(f"--out is {out}, which holds something else than a demo; give a new directory")
    number = next(n for n in count(1) if not out.with_name(f"{out.name}.{n}").exists())
    aside = out.with_name(f"{out.name}.{number}")
    out.rename(aside)
    _say(console, f"The earlier run is kept in {aside}.")


def _say(console: Console, line: str) -> None:
    console.print(line, highlight=False, markup=False, soft_wrap=True)
