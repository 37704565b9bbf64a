"""table.csv and table.tex: one row a run, for a paper."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curtail_dist.report.paper.course import Courses
from curtail_dist.report.paper.learned import byte_perplexity


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of the table."""

    key: str
    """Its header in table.csv, with the unit."""
    title: str
    unit: str
    """For people; empty: none."""
    form: str
    """How a number is written for people."""
    says: str
    """What the number is, in one sentence."""


COLUMNS = (
    Column(
        key="run_time_h",
        title="Run time",
        unit="h",
        form=",.2f",
        says="Run time is on the run's clock, from its start to its last row (unfinished: its newest event).",
    ),
    Column(
        key="gpu_h",
        title="GPU time",
        unit="GPU-h",
        form=",.1f",
        says="GPU time is the hours that sites were on, in any phase, times the ranks of each.",
    ),
    Column(
        key="tokens_millions",
        title="Tokens",
        unit="10^6",
        form=",.2f",
        says="Tokens are those in the chain of versions.",
    ),
    Column(
        key="energy_kwh",
        title="Energy",
        unit="kWh",
        form=",.3f",
        says="Energy includes PUE, joining, idling, exchanging and work thrown away.",
    ),
    Column(
        key="marginal_kg_co2",
        title="Marginal",
        unit="kg CO2",
        form=",.3f",
        says="Marginal emissions are that energy times the marginal intensity of the site's signal.",
    ),
    Column(
        key="average_kg_co2",
        title="Average",
        unit="kg CO2",
        form=",.3f",
        says="Average ones are by the grid's location-based average intensity.",
    ),
    Column(
        key="energy_in_windows_percent",
        title="In windows",
        unit="%",
        form=".1f",
        says="In windows: the share of the energy drawn while its site's intensity was below the threshold.",
    ),
    Column(
        key="best_training_perplexity_per_token",
        title="Train PPL",
        unit="per token",
        form=",.2f",
        says="Train PPL is the least smoothed training perplexity per token.",
    ),
    Column(
        key="best_held_out_perplexity_per_byte",
        title="Held-out PPL",
        unit="per byte",
        form=",.3f",
        says="Held-out PPL is 2 to the least held-out bits per byte, so it is per byte.",
    ),
    Column(
        key="best_held_out_bits_per_byte",
        title="Held-out",
        unit="bits per byte",
        form=".4f",
        says="Held-out bits per byte: the least of all evaluations on the held-out split.",
    ),
)
UNKNOWN = "--"
_MEANT = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}
_UNITS = {"kg CO2": r"kg CO$_2$", "10^6": "$10^6$", "%": r"\%"}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One run; `values` are as COLUMNS, None where something is not known."""

    name: str
    finished: bool
    values: Sequence[float | None]

    @property
    def cells(self) -> list[str]:
        """The values for people."""
        return [
            UNKNOWN if value is None else format(value, column.form)
            for column, value in zip(COLUMNS, self.values, strict=True)
        ]


def table_rows(summaries: Mapping[str, Mapping[str, Any]], courses: Courses) -> list[Row]:
    """Return a row for each summary; a run of which only that is left, not its course, has no perplexity."""
    best = {run.name: run.best_perplexity for run in courses.runs}
    return [
        Row(name=name, finished=found["finished"], values=_values(found, best.get(name)))
        for name, found in summaries.items()
    ]


def _values(summary: Mapping[str, Any], best_perplexity: float | None) -> list[float | None]:
    """A summary.json of an earlier version lacks keys; what they would say is unknown."""
    bits, share = summary["loss"].get("best_val_bpb"), summary.get("share_in_window")
    return [
        summary["virtual_h"],
        summary.get("gpu_hours"),
        summary["tokens"] / 1e6,
        summary.get("energy_kwh"),
        summary["emissions_kg"],
        summary.get("average_kg"),
        None if share is None else 100 * share,
        best_perplexity,
        None if bits is None else byte_perplexity(bits),
        bits,
    ]


def write_tables(run_dir: Path, rows: Sequence[Row], notes: Sequence[str]) -> list[Path]:
    """Write table.csv and table.tex into `run_dir` and return them."""
    spread, typeset = run_dir / "table.csv", run_dir / "table.tex"
    with spread.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["run", "finished", *(column.key for column in COLUMNS)])
        writer.writerows([row.name, str(row.finished).lower(), *row.values] for row in rows)
    typeset.write_text(latex(rows, notes), encoding="utf-8")
    return [spread, typeset]


def table_notes(courses: Courses) -> list[str]:
    """Return what each column is, one sentence each."""
    smoothing = (
        f"Smoothed: exponential of the mean loss, a token's weight halving every "
        f"{courses.half_life_tokens:,.0f} tokens."
    )
    return [*(column.says for column in COLUMNS), smoothing]


def latex(rows: Sequence[Row], notes: Sequence[str]) -> str:
    """Return a `tabular` with rules of booktabs; what the columns are stands above it as comments."""
    head = [r"\begin{tabular}{l" + "r" * len(COLUMNS) + "}", r"\toprule"]
    titles = _line(["Run", *(escaped(column.title) for column in COLUMNS)])
    units = _line(["", *(_UNITS.get(column.unit, escaped(column.unit)) for column in COLUMNS)])
    body = [
        _line([escaped(row.name if row.finished else f"{row.name} (unfinished)"), *map(escaped, row.cells)])
        for row in rows
    ]
    comments = [r"% Needs \usepackage{booktabs}.", *(f"% {note}" for note in notes)]
    return "\n".join(
        [*comments, *head, titles, units, r"\midrule", *body, r"\bottomrule", r"\end{tabular}", ""]
    )


def _line(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def escaped(text: str) -> str:
    """Return text that LaTeX sets as it stands, on one line."""
    return "".join(_MEANT.get(c, c if c.isprintable() else " ") for c in text)
