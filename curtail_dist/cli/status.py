"""`curtail status`: a run as the store and its events have it now."""

import argparse
import json
import sys
import time
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from rich.live import Live
from rich.text import Text

from curtail_dist.cli.verb import Verb
from curtail_dist.config import RunConfig
from curtail_dist.coordination import CoordinationStore, open_store
from curtail_dist.errors import StoreUnavailable
from curtail_dist.membership.agent.state import AgentState
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
            facts = _watch_lines(config, store, view, args)
        else:
            facts = _watch_screen(config, store, view, args)
    if facts["store"]["answers"]:
        return 0
    print(f"curtail: {facts['store']['error']}", file=sys.stderr)
    return 1


def _watch_lines(
    config: RunConfig, store: CoordinationStore, view: LiveView, args: argparse.Namespace
) -> dict[str, Any]:
    while True:
        facts = look(config, store, view)
        print(json.dumps(facts) if args.json else text(facts) + "\n", flush=True)
        if facts["finished"]:
            return facts
        time.sleep(args.every)


def _watch_screen(
    config: RunConfig, store: CoordinationStore, view: LiveView, args: argparse.Namespace
) -> dict[str, Any]:
    with Live(auto_refresh=False) as live:
        while True:
            facts = look(config, store, view)
            live.update(Text(text(facts)), refresh=True)
            if facts["finished"]:
                return facts
            time.sleep(args.every)


def look(config: RunConfig, store: CoordinationStore, view: LiveView) -> dict[str, Any]:
    """Return what is known now, as plain values; what is not known is None.

    Membership and progress come from the store; phases, rates and kilograms from the events in the run
    directory, as far as this host can read them. Where the store does not answer, `store` says so, progress
    is what the events say, and membership is not known.
    """
    view.poll()
    try:
        known = _from_store(Keys(config.run.name), store)
    except StoreUnavailable as error:
        known = _from_events(view, " ".join(str(error).split()))
    presences: dict[str, Presence] | None = known.pop("presences")
    members: list[str] | None = known.pop("members")
    agents: dict[str, AgentState] | None = known.pop("agents")
    names = list(config.sites) + [name for name in view.sites if name not in config.sites]
    sites = {name: _site(view.sites.get(name, SiteView()), view.t) for name in names}
    if presences is not None and members is not None:
        for name, facts in sites.items():
            facts["member"] = name in members
            facts["alive"] = name in presences
            facts["parked"] = name in presences and presences[name].parked
    for name, facts in sites.items():
        facts["agent"] = None if agents is None or name not in agents else asdict(agents[name])
    rates = [facts["tokens_per_s"] for facts in sites.values() if facts["tokens_per_s"] is not None]
    return {
        "run": config.run.name,
        **known,
        "round": max((site.round for site in view.sites.values()), default=None),
        "tokens_per_s": sum(rates) if rates else None,
        "t": view.t if view.sites else None,
        "utc": _utc(view, view.t),
        "emissions_kg": view.kg if view.sites else None,
        "sites": sites,
    }


def _from_store(keys: Keys, store: CoordinationStore) -> dict[str, Any]:
    """Return what the store knows. Raises StoreUnavailable."""
    epoch_entry, head_entry = store.get(keys.epoch), store.get(keys.head)
    epoch = Epoch.decode(epoch_entry.value) if epoch_entry else None
    head = Commit.decode(head_entry.value) if head_entry else None
    living = [Presence.decode(entry.value) for entry in store.list(keys.members).entries]
    presences = {presence.member.site: presence for presence in living}
    members = epoch.sites if epoch else []
    return {
        "store": {"answers": True, "error": None},
        "founded": epoch is not None,
        "finished": head is not None and head.complete,
        "epoch": epoch.number if epoch else None,
        "active": [name for name in members if name in presences],
        "version": head.version if head else None,
        "tokens": head.tokens if head else None,
        "rows": {
            "done": sum(last - first for first, last in head.done) if head else None,
            "total": head.total_rows if head else None,
        },
        "members": members,
        "presences": presences,
        "agents": {
            entry.key.removeprefix(keys.agents): AgentState.decode(entry.value)
            for entry in store.list(keys.agents).entries
        },
    }


def _from_events(view: LiveView, error: str) -> dict[str, Any]:
    """Return as much of the same as the events say."""
    begun = bool(view.run)
    return {
        "store": {"answers": False, "error": error},
        "founded": begun or None,
        "finished": view.finished,
        "epoch": view.epoch or None,
        "active": None,
        "version": view.version if begun else None,
        "tokens": view.tokens if begun else None,
        "rows": {"done": view.rows if begun else None, "total": view.rows_total if begun else None},
        "members": None,
        "presences": None,
        "agents": None,
    }


def _site(site: SiteView, t: Seconds) -> dict[str, Any]:
    window = site.next_window(t)
    return {
        "member": None,
        "alive": None,
        "parked": site.phase == "parked" if site.watts else None,
        "storeless_since_s": site.storeless_since,
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
    lines = [_headline(facts)]
    if facts["t"] is None:
        lines.append("no events of this run can be read here: phases, rates and kilograms are not known")
    else:
        lines.append(
            f"at {_moment(facts, facts['t'])}: {_n(facts['tokens_per_s'], ',.0f')} tokens/s, "
            f"{_n(facts['emissions_kg'], '.3f')} kg CO2 so far"
        )
    lines += [
        f"{name} trains on without the store since {_moment(facts, site['storeless_since_s'])}"
        for name, site in facts["sites"].items()
        if site["storeless_since_s"] is not None
    ]
    lines += [
        "",
        f"{'site':<20}{'member':>7}{'phase':>7}{'g/kWh':>7}{'tok/s':>9}{'loss':>7}{'kg':>8}  window",
    ]
    for name, site in facts["sites"].items():
        lines.append(
            f"{name:<20}{_membership(site):>7}{site['phase'] or '-':>7}{_n(site['g_per_kwh'], '.0f'):>7}"
            f"{_n(site['tokens_per_s'], ',.0f'):>9}{_n(site['loss'], '.3f'):>7}"
            f"{_n(site['emissions_kg'], '.3f'):>8}  {_window(facts, site)}"
        )
    if facts["store"]["answers"]:
        lines += ["", *(line for name, site in facts["sites"].items() for line in _agent(name, site))]
    return "\n".join(lines)


def _headline(facts: dict[str, Any]) -> str:
    rows = facts["rows"]
    progress = (
        f"epoch {facts['epoch']}, version {_n(facts['version'], ',')}, "
        f"{_n(facts['tokens'], ',')} tokens, {_n(rows['done'], ',')} of {_n(rows['total'], ',')} rows"
    )
    if not facts["store"]["answers"]:
        said = f"the events say: {progress}" if facts["founded"] else "the events say nothing of the run"
        done = "complete; " if facts["finished"] else ""
        return f"{facts['run']}: {done}THE STORE DOES NOT ANSWER, who is active is not known; {said}"
    if not facts["founded"]:
        return f"{facts['run']}: nobody has founded this run yet"
    state = "complete" if facts["finished"] else f"active: {', '.join(facts['active']) or 'nobody'}"
    return f"{facts['run']}: {state}; {progress}"


def _agent(name: str, site: dict[str, Any]) -> list[str]:
    """Say how the site stands as its agent has it: stage and why, who orders what, what does not work."""
    agent = site["agent"]
    if agent is None:
        return [f"{name}: no agent of it runs"]
    stage = "off, its ranks wait in memory" if agent["parked"] else agent["stage"]
    said = f"{name}: {stage} for {_ahead(agent['polled_t'] - agent['since'])[1:]}, {agent['reason']}"
    if agent["source"] and agent["measured_t"] is not None:
        said += f" ({agent['source']})"
    lines = [said]
    if agent["order"] and agent["order"] != agent["reason"]:
        lines.append(f"    ordered: {agent['order']}")
    if agent["waiting"]:
        lines.append(f"    waits: {agent['waiting']}")
    if agent["failures"]:
        again = "not before its next window" if agent["retry_at"] is None else "soon"
        lines.append(f"    {agent['failures']} failed starts in a row; the next is tried {again}")
    return [*lines, *(f"    {part} fails: {reason}" for part, reason in agent["troubles"].items())]


def _membership(site: dict[str, Any]) -> str:
    if site["member"] is None:
        return "?"
    if site["member"]:
        return "yes" if site["alive"] else "gone"
    return "parked" if site["parked"] else "no"


def _utc(view: LiveView, t: Seconds) -> str | None:
    return (view.start + timedelta(seconds=t)).isoformat() if view.start else None


def _moment(facts: dict[str, Any], t: Seconds) -> str:
    if not facts["utc"]:
        return f"{t / 3600:.2f} h"
    moment = datetime.fromisoformat(facts["utc"]) - timedelta(seconds=facts["t"] - t)
    return f"{moment:%Y-%m-%d %H:%M} UTC"


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
