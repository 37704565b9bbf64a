"""`curtail status`: a run as the store and its events have it now."""

import argparse
import json
import sys
import time
from datetime import timedelta
from typing import Any

from rich.live import Live
from rich.text import Text

from curtail_dist.cli.verb import Verb
from curtail_dist.config import RunConfig
from curtail_dist.coordination import CoordinationStore, open_store
from curtail_dist.membership.keys import Keys
from curtail_dist.membership.records import Commit, Epoch, Presence
from curtail_dist.report.live import LiveView
from curtail_dist.report.siteview import SiteView
from curtail_dist.units import Seconds


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", required=True, metavar="RUN.yaml", help="the run file")
    parser.add_argument(
        "--set", action="append", default=[], metavar="A.B=C", help="override one value of the run file"
    )
    parser.add_argument(
        "--watch", action="store_true", help="show it again and again, until the run is complete"
    )
    parser.add_argument(
        "--every", type=float, default=2.0, metavar="S", help="seconds between two looks with --watch (2)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON; with --watch, one line a look")


def _run(args: argparse.Namespace) -> int:
    config = RunConfig.from_yaml(args.config, list(args.set))
    view = LiveView(config.run.directory)
    with open_store(config.coordination) as store:
        if not args.watch:
            facts = look(config, store, view)
            print(json.dumps(facts, indent=2) if args.json else text(facts))
        elif args.json or not sys.stdout.isatty():
            _watch_lines(config, store, view, args)
        else:
            _watch_screen(config, store, view, args)
    return 0


def _watch_lines(
    config: RunConfig, store: CoordinationStore, view: LiveView, args: argparse.Namespace
) -> None:
    while True:
        facts = look(config, store, view)
        print(json.dumps(facts) if args.json else text(facts) + "\n", flush=True)
        if facts["finished"]:
            return
        time.sleep(args.every)


def _watch_screen(
    config: RunConfig, store: CoordinationStore, view: LiveView, args: argparse.Namespace
) -> None:
    with Live(auto_refresh=False) as live:
        while True:
            facts = look(config, store, view)
            live.update(Text(text(facts)), refresh=True)
            if facts["finished"]:
                return
            time.sleep(args.every)


def look(config: RunConfig, store: CoordinationStore, view: LiveView) -> dict[str, Any]:
    """Return what is known now, as plain values; what is not known is None. Raises StoreUnavailable.

    Membership and progress come from the store; phases, rates and kilograms from the events in the run
    directory, as far as this host can read them.
    """
    keys = Keys(config.run.name)
    epoch_entry, head_entry = store.get(keys.epoch), store.get(keys.head)
    epoch = Epoch.decode(epoch_entry.value) if epoch_entry else None
    head = Commit.decode(head_entry.value) if head_entry else None
    alive = [Presence.decode(entry.value) for entry in store.list(keys.members).entries]
    view.poll()
    active = epoch.sites if epoch else []
    living = {presence.member.site for presence in alive}
    names = list(config.sites) + [name for name in view.sites if name not in config.sites]
    sites = {name: _site(view.sites.get(name, SiteView()), view.t) for name in names}
    for name, facts in sites.items():
        facts["member"] = name in active
        facts["alive"] = name in living
    rates = [facts["tokens_per_s"] for facts in sites.values() if facts["tokens_per_s"] is not None]
    return {
        "run": config.run.name,
        "founded": epoch is not None,
        "finished": head is not None and head.complete,
        "epoch": epoch.number if epoch else None,
        "active": [name for name in active if name in living],
        "version": head.version if head else None,
        "round": max((site.round for site in view.sites.values()), default=None),
        "tokens": head.tokens if head else None,
        "rows": {
            "done": sum(last - first for first, last in head.done) if head else None,
            "total": head.total_rows if head else None,
        },
        "tokens_per_s": sum(rates) if rates else None,
        "t": view.t if view.sites else None,
        "utc": (view.start + timedelta(seconds=view.t)).isoformat() if view.start else None,
        "emissions_kg": view.kg if view.sites else None,
        "sites": sites,
    }


def _site(site: SiteView, t: Seconds) -> dict[str, Any]:
    window = site.next_window(t)
    return {
        "member": False,
        "alive": False,
        "phase": site.phase if site.watts else None,
        "g_per_kwh": site.g_per_kwh,
        "tokens_per_s": site.tokens_per_s() if site.phase in ("train", "sync") else None,
        "loss": site.loss,
        "deaths": site.deaths,
        "emissions_kg": site.kg if site.watts else None,
        "next_window_s": None if window is None else [window[0], window[1]],
    }


def text(facts: dict[str, Any]) -> str:
    """Return the facts for people, without control characters."""
    if not facts["founded"]:
        head = f"{facts['run']}: nobody has founded this run yet"
    else:
        rows = facts["rows"]
        state = "complete" if facts["finished"] else f"active: {', '.join(facts['active']) or 'nobody'}"
        head = (
            f"{facts['run']}: {state}; epoch {facts['epoch']}, version {_n(facts['version'], ',')}, "
            f"{_n(facts['tokens'], ',')} tokens, {_n(rows['done'], ',')} of {_n(rows['total'], ',')} rows"
        )
    lines = [head]
    if facts["t"] is None:
        lines.append("no events of this run can be read here: phases, rates and kilograms are not known")
    else:
        lines.append(
            f"at {_moment(facts)}: {_n(facts['tokens_per_s'], ',.0f')} tokens/s, "
            f"{_n(facts['emissions_kg'], '.3f')} kg CO2 so far"
        )
    lines += [
        "",
        f"{'site':<20}{'member':>7}{'phase':>7}{'g/kWh':>7}{'tok/s':>9}{'loss':>7}{'kg':>8}  window",
    ]
    for name, site in facts["sites"].items():
        member = "yes" if site["member"] and site["alive"] else "gone" if site["member"] else "no"
        lines.append(
            f"{name:<20}{member:>7}{site['phase'] or '-':>7}{_n(site['g_per_kwh'], '.0f'):>7}"
            f"{_n(site['tokens_per_s'], ',.0f'):>9}{_n(site['loss'], '.3f'):>7}"
            f"{_n(site['emissions_kg'], '.3f'):>8}  {_window(facts, site)}"
        )
    return "\n".join(lines)


def _moment(facts: dict[str, Any]) -> str:
    return f"{facts['utc'][:16].replace('T', ' ')} UTC" if facts["utc"] else f"{facts['t'] / 3600:.2f} h"


def _window(facts: dict[str, Any], site: dict[str, Any]) -> str:
    """Say when the next window is, in hours from the newest event: a run's clock need not be the reader's."""
    if site["next_window_s"] is None:
        return "none in sight"
    start, stop = site["next_window_s"]
    until = "" if stop is None else f" until {_ahead(stop - facts['t'])}"
    return f"open{until}" if start <= facts["t"] else f"{_ahead(start - facts['t'])}{until}"


def _ahead(seconds: Seconds) -> str:
    minutes = round(seconds / 60)
    return f"+{minutes // 60}:{minutes % 60:02d} h"


def _n(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


VERB = Verb(
    name="status",
    help="who is active, round, epoch, tokens, rate, kg so far, next windows",
    add_arguments=_add_arguments,
    run=_run,
)
