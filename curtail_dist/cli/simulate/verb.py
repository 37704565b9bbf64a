"""`curtail simulate`: what the policy would do on known traces, in virtual time and without training."""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from curtail_dist.cli.simulate.facts import facts_of
from curtail_dist.cli.simulate.text import text
from curtail_dist.cli.verb import Verb, add_json, add_run_file, finite
from curtail_dist.config import RunConfig
from curtail_dist.energy.pareto import Point, pareto
from curtail_dist.energy.provisioning import Provisioning
from curtail_dist.energy.scene import FORECASTS, Assumptions
from curtail_dist.energy.simulation import Simulation, simulate
from curtail_dist.errors import ConfigError, UserError
from curtail_dist.units import SECONDS_PER_HOUR


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run_file(parser)
    parser.add_argument(
        "--policy",
        metavar="NAME",
        help="take this policy (policy.kind): threshold, work-price, always, or MODULE:NAME",
    )
    parser.add_argument(
        "--forecast",
        choices=FORECASTS,
        default=Assumptions.forecast,
        help="what work-price plans by: the trace itself, the trace before now (default), or what is now",
    )
    parser.add_argument(
        "--work-h",
        type=finite,
        metavar="H",
        help="site-hours of training that complete the run (default: policy.work_h, or else those of one "
        "site always on)",
    )
    parser.add_argument(
        "--tokens-per-second", type=finite, metavar="N", help="tokens a training site steps, to count tokens"
    )
    parser.add_argument(
        "--drain-s",
        type=finite,
        nargs="+",
        default=Assumptions.drains_s,
        metavar="S",
        help="what the first drains take; the last one holds for all further ones (default: 0)",
    )
    parser.add_argument(
        "--blocking",
        action="store_true",
        help="while a site joins no other is asked, as in the published prototype",
    )
    parser.add_argument(
        "--join-spread",
        type=finite,
        default=Provisioning.spread,
        metavar="X",
        help="standard deviation of the logarithm of what a start takes; its median is clock.join_s (0)",
    )
    parser.add_argument(
        "--start-fails",
        type=finite,
        default=Provisioning.fails,
        metavar="SHARE",
        help="share of the starts that fail, and are tried again as the agent would (0)",
    )
    parser.add_argument(
        "--seed", type=int, default=Provisioning.seed, metavar="N", help="of those two draws (1)"
    )
    parser.add_argument(
        "--outage-h",
        type=finite,
        nargs=2,
        metavar=("FROM", "TO"),
        help="no signal answers between these hours of run time",
    )
    parser.add_argument(
        "--pareto", action="store_true", help="also emissions against finish time, for policies and optimum"
    )
    parser.add_argument("--picture", type=Path, metavar="FILE.png", help="draw it")
    add_json(parser)


def _run(args: argparse.Namespace) -> int:
    overrides: list[str] = list(args.set)
    if args.policy is not None:
        overrides.append(f"policy.kind={args.policy}")
    for name, value in (("--work-h", args.work_h), ("--tokens-per-second", args.tokens_per_second)):
        if value is not None and not value > 0:
            raise ConfigError(f"{name} is {value:g}; it must be above 0")
    config = RunConfig.from_yaml(args.config, overrides)
    result = simulate(config, _assumptions(args))
    points = pareto(result.scene) if args.pareto else {}
    facts = facts_of(result, args.tokens_per_second)
    facts["pareto"] = {name: [asdict(point) for point in found] for name, found in points.items()}
    if args.picture is not None:
        _draw(result, points, args.picture)
    print(json.dumps(facts, indent=2) if args.json else text(facts))
    return 0


def _draw(result: Simulation, points: Mapping[str, Sequence[Point]], file: Path) -> None:
    from curtail_dist.report.simulated import draw  # matplotlib is slow to import

    try:
        draw(result, points, file)
    except OSError as error:
        raise UserError(
            f"--picture {file} cannot be written ({error.strerror}); name another file"
        ) from error


def _assumptions(args: argparse.Namespace) -> Assumptions:
    outage: list[float] | None = args.outage_h
    if outage is not None and not 0 <= outage[0] < outage[1]:
        raise ConfigError(f"--outage-h is {outage[0]:g} {outage[1]:g}; it must rise, from 0 on")
    return Assumptions(
        work_s=None if args.work_h is None else args.work_h * SECONDS_PER_HOUR,
        drains_s=args.drain_s,
        blocking=args.blocking,
        forecast=args.forecast,
        provisioning=Provisioning(spread=args.join_spread, fails=args.start_fails, seed=args.seed),
        outage=None if outage is None else (outage[0] * SECONDS_PER_HOUR, outage[1] * SECONDS_PER_HOUR),
    )


VERB = Verb(
    name="simulate",
    help="what the policy would do on the sites' traces: windows, hours, kWh, kg, baselines, optimum",
    add_arguments=_add_arguments,
    run=_run,
)
