"""What is known of a run now, as plain values: what `curtail status --json` prints."""

import math
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from curtail_dist.cli.status.ending import ending
from curtail_dist.cli.status.warnings import warnings_of
from curtail_dist.config import RunConfig
from curtail_dist.coordination import CoordinationStore
from curtail_dist.errors import DataError, StoreUnavailable
from curtail_dist.membership.agent.orders import Order
from curtail_dist.membership.agent.state import AgentState
from curtail_dist.membership.keys import Keys
from curtail_dist.membership.records import Commit, Epoch, Presence
from curtail_dist.membership.refusal import Refusal
from curtail_dist.report.live import LiveView
from curtail_dist.report.siteview import SiteView
from curtail_dist.telemetry.events import MEMBER_PHASES
from curtail_dist.units import Seconds


def look(config: RunConfig, store: CoordinationStore, view: LiveView) -> dict[str, Any]:
    """Return what is known now, as plain values; what is not known is None.

    Membership and progress come from the store; phases, rates and kilograms from the events in the run
    directory, as far as this host can read them. Where the store does not answer, `store` says so, progress
    is what the events say, and membership is not known. `warnings` are what a person should look at.
    """
    unreadable = _poll(view)
    try:
        known = _from_store(Keys(config.run.name), store)
    except StoreUnavailable as error:
        known = _from_events(view, " ".join(str(error).split()))
    presences: dict[str, Presence] | None = known.pop("presences")
    members: list[str] | None = known.pop("members")
    agents: dict[str, AgentState] | None = known.pop("agents")
    refusals: dict[str, Refusal] = known.pop("refusals")
    names = list(config.sites) + [name for name in view.sites if name not in config.sites]
    sites = {name: _site(view.sites.get(name, SiteView()), view.t) for name in names}
    if presences is not None and members is not None:
        for name, facts in sites.items():
            facts["member"] = name in members
            facts["alive"] = name in presences
            facts["parked"] = name in presences and presences[name].parked
    for name, facts in sites.items():
        facts["agent"] = None if agents is None or name not in agents else asdict(agents[name])
        facts["refused"] = refusals[name].reason if name in refusals else None
        facts["gone"] = _gone(facts, active=bool(known["active"]))
    rates = [facts["tokens_per_s"] for facts in sites.values() if facts["tokens_per_s"] is not None]
    facts = {
        "run": config.run.name,
        **known,
        "round": max((site.round for site in view.sites.values()), default=None),
        "tokens_per_s": sum(rates) if rates else None,
        "t": view.t if view.sites else None,
        "utc": _utc(view, view.t),
        "emissions_kg": view.kg if view.sites else None,
        "loss": view.loss,
        "val_bpb": _finite(view.val_bpb),
        "held_out_diverged": _odd(view.val_bpb),
        "events": {"read": bool(view.sites), "error": unreadable},
        "sites": sites,
    }
    facts["end"] = _end(config, view, facts)
    facts["warnings"] = [asdict(warning) for warning in warnings_of(facts, outage_s=config.round.outage_s)]
    return facts


def _poll(view: LiveView) -> str | None:
    """Take in what is new of the events; return why that could not be done."""
    try:
        view.poll()
    except (DataError, OSError) as error:
        return " ".join(str(error).split())
    return None


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
        "stopped": _stop(keys, store),
        "members": members,
        "presences": presences,
        "agents": {
            entry.key.removeprefix(keys.agents): AgentState.decode(entry.value)
            for entry in store.list(keys.agents).entries
        },
        "refusals": {
            entry.key.removeprefix(keys.refusals): Refusal.decode(entry.value)
            for entry in store.list(keys.refusals).entries
        },
    }


def _stop(keys: Keys, store: CoordinationStore) -> str | None:
    """Return in words the operator's order that the whole run stops, None where there is none."""
    entry = store.get(keys.stop)
    order = None if entry is None else Order.decode(entry.value)
    return order.bar.reason if order is not None and order.holds(datetime.now(UTC)) else None


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
        "stopped": None,
        "members": None,
        "presences": None,
        "agents": None,
        "refusals": {},
    }


def _site(site: SiteView, t: Seconds) -> dict[str, Any]:
    window = site.next_window(t)
    there = bool(site.watts)
    return {
        "member": None,
        "alive": None,
        "parked": site.phase == "parked" if there else None,
        "storeless_since_s": site.storeless_since,
        "phase": site.phase if there else None,
        "g_per_kwh": site.g_per_kwh,
        "tokens_per_s": site.tokens_per_s() if site.phase in ("train", "sync") else None,
        "loss": _finite(site.loss),
        "deaths": site.deaths,
        "emissions_kg": site.kg if there else None,
        "next_window_s": None if window is None else [window[0], window[1]],
        "threshold_g_per_kwh": site.threshold_g_per_kwh,
        "from_forecast": site.from_forecast,
        "signal_lost": site.lost or None,
        "round": site.round or None,
        "diverged": site.diverged,
        "idle_share": site.idle_share(),
        "stall_share": site.stall_share(),
        "troubles": dict(site.troubles),
    }


def _odd(value: float | None) -> bool:
    return value is not None and not math.isfinite(value)


def _finite(value: float | None) -> float | None:
    """Return a number that JSON can say; None for what is unknown or is none."""
    return None if _odd(value) else value


def _gone(site: dict[str, Any], *, active: bool) -> bool:
    """Whether a member is missed. The epoch goes on listing those who left in order as the last ones."""
    if not site["member"] or site["alive"]:
        return False
    agent = site["agent"]
    there = site["phase"] in MEMBER_PHASES if agent is None else agent["stage"] == "on"
    return active or there


def _end(config: RunConfig, view: LiveView, facts: dict[str, Any]) -> dict[str, Any]:
    """Return when the run will be complete: `t` in run time, `utc`, and what that rests on or why not."""
    rows = facts["rows"]
    left = None if rows["total"] is None or rows["done"] is None else rows["total"] - rows["done"]
    if facts["finished"]:
        return {"t": None, "utc": None, "reason": "it is complete"}
    if facts["stopped"]:
        return {"t": None, "utc": None, "reason": "the run is stopped"}
    found = ending(config, view, rows_left=left, away=_away(facts))
    return {
        "t": found.t,
        "utc": None if found.t is None else _utc(view, found.t),
        "reason": found.reason,
    }


def _away(facts: dict[str, Any]) -> list[str]:
    """Return the sites that are not to be counted on: without an agent, under an order, or waiting."""
    if not facts["store"]["answers"]:
        return []
    return [
        name
        for name, site in facts["sites"].items()
        if not (site["member"] and site["alive"])
        and (site["agent"] is None or site["agent"]["order"] or site["agent"]["waiting"])
    ]


def _utc(view: LiveView, t: Seconds) -> str | None:
    return (view.start + timedelta(seconds=t)).isoformat() if view.start else None
