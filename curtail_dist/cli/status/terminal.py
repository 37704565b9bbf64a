"""How `curtail status` shows what is known to people: on a terminal of any width, with colours or without."""

import io
from collections.abc import Iterator
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from curtail_dist.cli.status.words import figure, moment, short, span
from curtail_dist.report.lines import printable
from curtail_dist.report.live import PHASE_STYLE

_LEAST_BAR = 20
"""Columns that a bar beside its figures has at least; else it stands above them."""
_LEAST_NAME = 8
"""Columns that a site's name is given at least; a longer one goes on in the next line."""
_TITLES = ("site", "state", "g/kWh", "window", "round", "tok/s", "loss", "idle", "kg CO2")
_LEFT = ("site", "state", "window")
_STYLES = {**PHASE_STYLE, "gone": "bold red", "waiting": "yellow", "draining": "yellow"}


def text(facts: dict[str, Any], width: int = 80) -> str:
    """Return the facts for people, without control characters, in lines of at most `width`."""
    console = Console(
        file=io.StringIO(), width=width, color_system=None, force_terminal=False, legacy_windows=False
    )
    with console.capture() as captured:
        console.print(Picture(facts))
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


class Picture:
    """The facts as rich shows them, as wide as its console is."""

    def __init__(self, facts: dict[str, Any]) -> None:
        """Show what `look` returned."""
        self._facts = facts

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the run, what is to be looked at, the sites, and why they stand so."""
        facts, width = self._facts, options.max_width
        yield Text(_headline(facts), style="bold")
        yield from _progress(facts, width)
        yield from _figures(facts)
        yield from _warnings(facts)
        rows = [_row(facts, name, site) for name, site in facts["sites"].items()]
        room = width - sum(max(len(row[i]) for row in [_TITLES, *rows]) + 1 for i in range(1, len(_TITLES)))
        yield Text("")
        if room >= _LEAST_NAME and rows:
            yield _table(rows, min(room, max(len(row[0]) for row in [_TITLES, *rows])))
            yield from _reasons(facts)
        else:
            yield from _blocks(facts, rows)


def _headline(facts: dict[str, Any]) -> str:
    if not facts["store"]["answers"]:
        done = "complete; " if facts["finished"] else ""
        said = f"the events say: {_place(facts)}" if facts["founded"] else "the events say nothing of the run"
        return f"{facts['run']}: {done}THE STORE DOES NOT ANSWER, who is active is not known; {said}"
    if not facts["founded"]:
        return f"{facts['run']}: nobody has founded this run yet"
    if facts["finished"]:
        return f"{facts['run']}: complete; {_place(facts)}"
    return (
        f"{facts['run']}: {len(facts['active'])} of {_n(len(facts['sites']), 'site')} active; {_place(facts)}"
    )


def _n(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _place(facts: dict[str, Any]) -> str:
    parts = [f"{what} {facts[what]:,}" for what in ("epoch", "version") if facts[what] is not None]
    parts += [f"round {facts['round']:,}"] if facts["round"] else []
    return ", ".join(parts)


def _progress(facts: dict[str, Any], width: int) -> Iterator[RenderableType]:
    done, total = facts["rows"]["done"], facts["rows"]["total"]
    if done is None or not total:
        return
    # Down, so that 100 % are all rows and nothing less.
    said = f"{100 * done // total}%, {done:,} of {total:,} rows, {figure(facts['tokens'], ',')} tokens"
    room = width - len(said) - 3
    if room < _LEAST_BAR:
        yield _bar(done / total, min(width, 60) - 2)
        yield Text(said)
    else:
        yield _bar(done / total, min(room, 60)).append(f" {said}")


def _bar(share: float, width: int) -> Text:
    """Return a bar that needs neither colours nor more than ASCII."""
    full = max(0, min(width, int(share * width)))
    return Text.assemble("[", ("#" * full, "green"), ("." * (width - full), "dim"), "]")


def _figures(facts: dict[str, Any]) -> Iterator[RenderableType]:
    if facts["t"] is not None:
        told = (
            ("tokens_per_s", "{:,.0f} tokens/s"),
            ("loss", "loss {:.3f}"),
            ("val_bpb", "{:.3f} bits/byte held out"),
            ("emissions_kg", "{:,.3f} kg CO2 so far"),
        )
        parts = [form.format(facts[key]) for key, form in told if facts[key] is not None]
        parts += ["held out: no finite number"] if facts["held_out_diverged"] else []
        yield Text(f"at {moment(facts, facts['t'])}: {', '.join(parts)}")
    end = facts["end"]
    if facts["finished"] or not facts["founded"]:
        return
    if end["t"] is None:
        yield Text(f"its end cannot be told: {printable(end['reason'])}")
    else:
        ahead = max(0.0, end["t"] - (facts["t"] or 0.0))
        yield Text(f"ends in about {span(ahead)}, {moment(facts, end['t'])}, {printable(end['reason'])}")


def _warnings(facts: dict[str, Any]) -> Iterator[RenderableType]:
    if not facts["warnings"]:
        return
    yield Text("")
    lines = Table.grid(padding=(0, 1))
    lines.add_column()
    lines.add_column(overflow="fold")
    for warning in facts["warnings"]:
        lines.add_row(Text("!", style="bold yellow"), Text(warning["says"], style="yellow"))
        lines.add_row("", Text(f"do: {warning['do']}"))
    yield lines


def _row(facts: dict[str, Any], name: str, site: dict[str, Any]) -> list[str]:
    kg, agent = site["emissions_kg"], site["agent"]
    intensity = site["g_per_kwh"] if agent is None else agent["g_per_kwh"]
    return [
        printable(name),
        _state(facts, site),
        figure(intensity, ".0f"),
        _window(facts, site),
        figure(site["round"], "d"),
        short(site["tokens_per_s"]),
        figure(site["loss"], ".3f"),
        figure(site["idle_share"], ".0%"),
        figure(kg, ".3f" if kg is not None and kg < 1000 else ",.0f"),
    ]


def _table(rows: list[list[str]], name_width: int) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    for title in _TITLES:
        table.add_column(
            title,
            justify="left" if title in _LEFT else "right",
            no_wrap=title != "site",
            overflow="fold",
            width=name_width if title == "site" else None,
        )
    for name, now, *others in rows:
        table.add_row(Text(name, style="bold"), Text(now, style=_STYLES.get(now, "")), *map(Text, others))
    return table


def _blocks(facts: dict[str, Any], rows: list[list[str]]) -> Iterator[RenderableType]:
    """Yield each site in lines of its own, for a narrow terminal."""
    for site, row in zip(facts["sites"].values(), rows, strict=True):
        yield Text.assemble((row[0], "bold"), ": ", (row[1], _STYLES.get(row[1], "")))
        said = [", ".join(form.format(cell) for form, cell in pairs if cell != "-") for pairs in _paired(row)]
        said = [*filter(None, said), *_why(site, facts["t"])]
        if said:
            yield Padding(Text("\n".join(said), overflow="fold"), (0, 0, 0, 2))


def _paired(row: list[str]) -> Iterator[Iterator[tuple[str, str]]]:
    """Yield what of a site stands together in a line of a narrow terminal."""
    yield zip(("{} g/kWh", "window {}"), row[2:4], strict=True)
    yield zip(("round {}", "{} tok/s", "loss {}"), row[4:7], strict=True)
    yield zip(("idle {}", "{} kg CO2"), row[7:9], strict=True)


def _reasons(facts: dict[str, Any]) -> Iterator[RenderableType]:
    """Yield why each site stands as it does, as its agent has it."""
    told = [(name, _why(site, facts["t"])) for name, site in facts["sites"].items()]
    told = [(name, lines) for name, lines in told if lines]
    if told:
        yield Text("")
    for name, lines in told:
        yield Text(f"{printable(name)}: {lines[0]}", overflow="fold")
        if lines[1:]:
            yield Padding(Text("\n".join(lines[1:]), overflow="fold"), (0, 0, 0, 4))


def _state(facts: dict[str, Any], site: dict[str, Any]) -> str:
    """Say in a word what a site does: what is wrong with it before its phase, that before its stage."""
    agent: dict[str, Any] = site["agent"] or {}
    if facts["finished"]:
        return site["phase"] or "-"  # Members of a run's last epoch are gone, and may be.
    if site["gone"]:
        return "gone"
    if agent.get("waiting"):
        return "waiting"
    if agent.get("stage") == "draining":
        return "draining"
    if site["parked"]:
        return "parked"
    return site["phase"] or agent.get("stage") or ("on" if site["alive"] else "-")


def _why(site: dict[str, Any], t: float | None) -> list[str]:
    """Say why a site is as it is, and since when: up to the newest event, or its agent's last reading."""
    agent = site["agent"]
    if agent is None:
        return []
    stage = "off, its ranks wait in memory" if agent["parked"] else agent["stage"]
    said = f"{stage} for {span(max(t or 0.0, agent['polled_t']) - agent['since'])}, {agent['reason']}"
    if agent["source"] and agent["measured_t"] is not None:
        said += f" ({agent['source']})"
    ordered = [f"ordered: {agent['order']}"] if agent["order"] and agent["order"] != agent["reason"] else []
    return [printable(line) for line in (said, *ordered)]


def _window(facts: dict[str, Any], site: dict[str, Any]) -> str:
    """Say when the next window is, from the newest event: a run's clock need not be the reader's."""
    if facts["finished"] or site["phase"] is None:
        return "-"
    if site["next_window_s"] is None:
        return "none known"
    start, stop = site["next_window_s"]
    if start > facts["t"]:
        return f"in {span(start - facts['t'])}"
    return "open" if stop is None else f"{span(stop - facts['t'])} left"
