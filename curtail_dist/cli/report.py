"""`curtail report`: pictures and figures of a run from its events."""

import argparse
import json
from pathlib import Path
from typing import Any

from curtail_dist.cli.verb import Verb
from curtail_dist.errors import UserError
from curtail_dist.report.build import write_report
from curtail_dist.report.saving import multiple_text, saving_text


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="directory of the run; written to")
    parser.add_argument(
        "--from",
        dest="further",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="further directory with events of the same run, from another site; may be repeated",
    )
    parser.add_argument(
        "--compare",
        action="append",
        default=[],
        metavar="NAME=DIR",
        help="another run to show beside it; may be repeated",
    )
    parser.add_argument(
        "--print",
        dest="vectors",
        action="store_true",
        help="write report.svg, courses.svg and report.pdf, too, with their fonts in them",
    )
    parser.add_argument("--json", action="store_true", help="print summary.json")


def _run(args: argparse.Namespace) -> int:
    try:
        page, text = _written(args)
    except OSError as error:
        if error.filename is None:  # of a write: the disk is full, say
            raise UserError(
                f"{args.run_dir} does not take the report ({error.strerror or error}); what is there of one "
                "may be torn: make room, and write it again"
            ) from error
        raise UserError(
            f"{error.filename} cannot be used ({error.strerror}); a report reads a run's directories and is "
            "written into the first: have the right to, or give a copy of it"
        ) from error
    print(text.rstrip() if args.json else _text(json.loads(text), page))
    return 0


def _written(args: argparse.Namespace) -> tuple[Path, str]:
    """Write the report; return its page and its summary. Raises UserError, OSError."""
    run_dir: Path = args.run_dir
    if not run_dir.is_dir():
        raise UserError(f"{run_dir} is no directory; give the directory of a run")
    page = write_report(run_dir, _compared(args.compare), further=args.further, vectors=args.vectors)
    return page, (run_dir / "summary.json").read_text(encoding="utf-8")


def _compared(given: list[str]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for assignment in given:
        name, equals, directory = assignment.partition("=")
        if not (name and equals and directory):
            raise UserError(f"--compare is {assignment!r}; it must read NAME=DIR")
        if name in found:
            raise UserError(f"--compare names two runs {name}; give each a name of its own")
        if not Path(directory).is_dir():
            raise UserError(f"--compare {name}: {directory} is no directory; give the directory of a run")
        found[name] = Path(directory)
    return found


def _text(summary: dict[str, Any], page: Path) -> str:
    rows, loss = summary["rows"], summary["loss"]
    saving = saving_text(summary)
    without = f", WITHOUT {', '.join(summary['absent'])}" if summary["absent"] else ""
    lines = [
        f"{summary['run']}: {'finished' if summary['finished'] else 'unfinished'} after "
        f"{summary['virtual_h']:.2f} h, {summary['commits']} versions, {summary['tokens']:,} tokens",
        f"rows: {rows['trained']:,} of {rows['total']:,} done once, {rows['lost']:,} lost, "
        f"{rows['duplicated']:,} done twice; {rows['discarded']:,} went back to the pool"
        + (f"; {rows['untold']:,} IN VERSIONS THAT NO EVENTS HERE TELL OF" if rows["untold"] else ""),
        f"held out: {_number(loss['val_bpb'], '.4f')} bits per byte",
        f"emissions{without}: {summary['emissions_kg']:.3f} kg CO2 by marginal intensity, "
        f"{_number(summary['average_kg'], '.3f')} by location-based average"
        + (f"; {saving}" if saving else ""),
        f"energy{without}: {summary['energy_kwh']:.3f} kWh with PUE, "
        f"{summary['metered_share']:.0%} of it measured",
        _sci(summary),
    ]
    lines += [
        f"  always on at {name}: {found['emissions_kg']:.3f} kg, {found['hours']:.2f} h"
        for name, found in summary["baselines"].items()
    ]
    lines.append(f"  optimum: {_optimum(summary)}")
    lines += ["not in these numbers:", *(f"- {sentence}" for sentence in summary["not_counted"])]
    lines += [f"note: {note}" for note in summary["notes"]]
    return "\n".join([*lines, f"wrote {page}"])


def _optimum(summary: dict[str, Any]) -> str:
    best, multiple = summary["oracle_schedule_kg"], summary["oracle_multiple"]
    if best is None:
        return "unknown"
    if multiple is None:
        return f"{best:.3f} kg; how many times that this run emits is unknown"
    return f"{best:.3f} kg; this run emits {multiple_text(multiple, 'that')}"


def _sci(summary: dict[str, Any]) -> str:
    sci = summary["sci_g_per_million_tokens"]
    scope = "with embodied carbon" if sci["embodied_counted"] else "without embodied carbon"
    return (
        f"SCI: {_number(sci['marginal'], '.2f')} g per million tokens marginal, "
        f"{_number(sci['average'], '.2f')} average, {scope}"
    )


def _number(value: float | None, form: str) -> str:
    return "unknown" if value is None else format(value, form)


VERB = Verb(
    name="report",
    help="write a run's report from its events: page, pictures, summary, and tables and series for a paper",
    add_arguments=_add_arguments,
    run=_run,
)
