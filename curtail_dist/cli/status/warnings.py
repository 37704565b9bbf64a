"""What a person should look at in a run, in words, and what to do about it. Pure, from what `look` found."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from curtail_dist.cli.status.words import moment, span
from curtail_dist.report.lines import printable
from curtail_dist.units import Seconds

MUCH_STALL = 0.3
"""A larger share of real time in exchanges is too much; that of `launch/prometheus/alerts.yml`."""
_DO = {
    "provisioner": "look at the end of logs/{site}.log there; `curtail hold {site}` keeps it from trying",
    "policy": "the site leaves until it works again: the agent's log has the traceback",
    "plan": "the site goes by its last plan meanwhile: the agent's log has the traceback",
    "operator": "give the order again, or `curtail release {site}`",
    "meter": "mend it; meanwhile energy is that of the power model",
    "store": "look at the way from the site to etcd: address, certificate, password",
    "signal": "look at the feed: account, plan, address, clock",
}
"""What to do about a part in trouble."""
_DO_ELSE = "the agent goes on without it: its log has more"


@dataclass(frozen=True, kw_only=True)
class Advice:
    """One thing to look at."""

    kind: str
    """A word for programs."""
    sites: list[str]
    """Which it concerns; none: the run."""
    says: str
    do: str


def warnings_of(facts: dict[str, Any], *, outage_s: Seconds) -> list[Advice]:
    """Return what to look at, the run's first. A complete run has nothing but what keeps it from being shown.

    `facts` are what `look` returns, but for the warnings; a site trains for `outage_s` without the store.
    """
    found = list(_of_reading(facts, outage_s))
    if not facts["finished"]:
        found += _of_run(facts)
        found += [warning for name, site in facts["sites"].items() for warning in _of_site(facts, name, site)]
    return found


def _of_reading(facts: dict[str, Any], outage_s: Seconds) -> Iterator[Advice]:
    """Yield what keeps the run from being shown."""
    if not facts["store"]["answers"]:
        yield _one(
            "store-away",
            f"the store does not answer: {facts['store']['error']}",
            "nothing, since the run is complete"
            if facts["finished"]
            else f"bring etcd back within {span(outage_s)}: until then sites train on and lose nothing",
        )
    if facts["events"]["error"]:
        yield _one(
            "events-broken",
            f"the events cannot be read: {facts['events']['error']}",
            "mend that; phases, rates and kilograms are as they were before, or not known",
        )
    elif not facts["events"]["read"]:
        yield _one(
            "events-missing",
            "no events of this run can be read here: phases, rates and kilograms are not known",
            "ask on a machine that has the run directory (run.directory in the run file)",
        )
    else:
        missing = [name for name, site in facts["sites"].items() if site["phase"] is None and _lives(site)]
        if missing:
            yield _one(
                "events-missing",
                f"the events of {', '.join(missing)} cannot be read here: phase, rate and kg are not known",
                "ask on a machine that has their run directory",
                *missing,
            )


def _of_run(facts: dict[str, Any]) -> Iterator[Advice]:
    if facts["held_out_diverged"]:
        yield _one(
            "held-out-diverged",
            "bits per byte on the held-out split are no finite number: the newest versions are of no use",
            "`curtail stop`; then a new run with a smaller learning rate, inner or outer",
        )
    if facts["stopped"]:
        yield _one(
            "stopped", f"the run is stopped: {facts['stopped']}", "`curtail release`, then start the agents"
        )
        return
    if not facts["store"]["answers"]:
        return
    absent = [name for name, site in facts["sites"].items() if site["agent"] is None]
    for name in absent:
        refused = facts["sites"][name].get("refused")
        if refused:
            yield _one("refused", f"{name}: its ranks end: {refused}", "mend that there, then start it", name)
    if absent:
        which = absent[0] if len(absent) == 1 else "NAME"
        yield _one(
            "agent-absent",
            f"no agent runs for {', '.join(absent)}",
            f"start it there: curtail site --config RUN.yaml --site {which}",
            *absent,
        )


def _of_site(facts: dict[str, Any], name: str, site: dict[str, Any]) -> Iterator[Advice]:
    agent: dict[str, Any] = site["agent"] or {}
    if site["storeless_since_s"] is not None:
        yield _one(
            "storeless",
            f"{name} trains on without the store since {moment(facts, site['storeless_since_s'])}",
            "bring etcd, or the way from there to it, back",
            name,
        )
    if site["gone"]:
        yield _one(
            "gone",
            f"{name} is a member and gives no sign of life",
            f"the others go on without it; look at logs/{name}.log, power and network there",
            name,
        )
    if agent.get("waiting"):
        yield _one(
            "waiting",
            f"{name} waits: {agent['waiting']}",
            f"nothing, if it may wait; `curtail hold {name}` takes it back",
            name,
        )
    if agent.get("failures"):
        count = agent["failures"]
        again = "not before its next window" if agent["retry_at"] is None else "soon"
        starts = "1 failed start" if count == 1 else f"{count} failed starts in a row"
        why = f" ({agent['failure']})" if agent.get("failure") else ""
        yield _one(
            "failed-starts",
            f"{name}: {starts}{why}; the next is tried {again}",
            _do("provisioner", name),
            name,
        )
    yield from _of_signal(facts, name, site)
    # An agent tells the store only of the parts that it waits for; what runs beside it, the events alone.
    for part, reason in {**site["troubles"], **agent.get("troubles", {})}.items():
        if part != "signal":
            yield _one("trouble", f"{name}: its {part} fails: {reason}", _do(part, name), name)
    if site["diverged"]:
        yield _one(
            "diverged",
            f"{name}: its loss is no finite number; what it trains is thrown away",
            "a smaller learning rate, or look at its data and its device",
            name,
        )
    if site["stall_share"] is not None and site["stall_share"] > MUCH_STALL:
        yield _one(
            "stall",
            f"{name}: {site['stall_share']:.0%} of its time passes in exchanges",
            "longer rounds (round.steps), outer.codec, or outer.fragments with outer.sync_delay",
            name,
        )


def _of_signal(facts: dict[str, Any], name: str, site: dict[str, Any]) -> Iterator[Advice]:
    agent = site["agent"]
    known = site if agent is None else agent
    why = known["troubles"].get("signal")
    because = f": {why}" if why else ""
    if known["g_per_kwh"] is None:
        if agent is not None or site["signal_lost"]:
            source = f" from {agent['source']}" if agent is not None and agent["source"] else ""
            yield _one(
                "signal-lost",
                f"{name} has no fresh reading{source}: it does not start, and leaves if it is on{because}",
                _do("signal", name),
                name,
            )
    elif known["from_forecast"]:
        yield _one(
            "signal-held",
            f"{name} goes by what its signal foretold, since it does not answer{because}",
            _do("signal", name),
            name,
        )
    elif why:
        measured = None if agent is None else agent["measured_t"]
        since = "" if measured is None else f" of {moment(facts, measured)}"
        yield _one("signal-held", f"{name} goes by its reading{since}{because}", _do("signal", name), name)


def _lives(site: dict[str, Any]) -> bool:
    return bool(site["member"] or site["alive"]) or site["agent"] is not None


def _do(part: str, site: str) -> str:
    return _DO.get(part, _DO_ELSE).format(site=site)


def _one(kind: str, says: str, do: str, *sites: str) -> Advice:
    return Advice(kind=kind, sites=list(sites), says=printable(says), do=do)
