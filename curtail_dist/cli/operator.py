"""`curtail hold | release | drain SITE`, `curtail stop`: an operator's orders, above every policy.

An order is a key in the coordination store, with a reason, who gave it, and when it expires. The agents
follow it from their next look on, within a second; so do agents that start later, as long as it stands.
"""

import argparse
import getpass
import json
import os
import re
import socket
from datetime import UTC, datetime, timedelta
from functools import partial

from curtail_dist.cli.verb import Verb, add_json, add_run_file
from curtail_dist.config import RunConfig
from curtail_dist.coordination import CoordinationStore, open_store
from curtail_dist.membership.agent.orders import Order
from curtail_dist.membership.agent.state import AgentState
from curtail_dist.membership.keys import Keys

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LONGEST_D = 36_500
"""Days that an order may last at most: far below where dates end."""


def duration(text: str) -> timedelta:
    """Read a duration such as 90s, 30m, 2h or 1.5d. Raises ArgumentTypeError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    if found is None or float(found[1]) <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration above 0, such as 90s, 30m, 2h or 1d")
    seconds = float(found[1]) * _UNITS[found[2]]
    if seconds > _LONGEST_D * _UNITS["d"]:
        raise argparse.ArgumentTypeError(
            f"{text!r} is longer than {_LONGEST_D}d; leave it out for an order that stands until released"
        )
    return timedelta(seconds=seconds)


def _add_run(parser: argparse.ArgumentParser) -> None:
    add_run_file(parser)
    add_json(parser)


def _add_order(parser: argparse.ArgumentParser) -> None:
    _add_run(parser)
    parser.add_argument("--reason", default="", metavar="TEXT", help="why, for the record and for others")
    parser.add_argument(
        "--for",
        dest="lasts",
        type=duration,
        metavar="DURATION",
        help="when the order expires, from now: 90s, 30m, 2h, 1d (until it is released)",
    )


def _add_site_order(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("site", metavar="SITE", help="one of the run file's sites")
    _add_order(parser)


def _add_stop(parser: argparse.ArgumentParser) -> None:
    _add_order(parser)
    parser.add_argument(
        "--after-commit",
        action="store_true",
        help="let the open round end as planned; else it ends with the inner step under way",
    )


def _add_release(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "site", nargs="?", metavar="SITE", help="the site; without it the stop of the run is taken back"
    )
    _add_run(parser)


def _order(kind: str, args: argparse.Namespace) -> int:
    """Write an order and say what it will come to."""
    config = RunConfig.from_yaml(args.config, list(args.set))
    now = datetime.now(UTC)
    order = Order(
        kind=kind,  # pyright: ignore[reportArgumentType]
        reason=args.reason,
        by=f"{_user()}@{socket.gethostname()}",
        given=now,
        until=None if args.lasts is None else now + args.lasts,
        after_commit=getattr(args, "after_commit", False),
    )
    keys, sites = Keys(config.run.name), list(config.sites)
    if kind != "stop":
        config.site(args.site)
        sites = [args.site]
    with open_store(config.coordination) as store:
        store.put(keys.stop if kind == "stop" else keys.order(args.site), order.encode())
        agents = {site: _agent(store, keys, site) for site in sites}
    if args.json:
        stages = {site: None if state is None else state.stage for site, state in agents.items()}
        print(json.dumps({"order": json.loads(order.encode()), "sites": stages}, indent=2))
        return 0
    for site, state in agents.items():
        print(f"{site}: {order.bar.reason}; {_comes_to(kind, state)}")
    return 0


def _user() -> str:
    """Return the user's name; the number of one that has none, as in a container."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # up to Python 3.12, and from then on
        return f"uid {os.getuid()}"


def _agent(store: CoordinationStore, keys: Keys, site: str) -> AgentState | None:
    entry = store.get(keys.agent(site))
    return None if entry is None else AgentState.decode(entry.value)


def _comes_to(kind: str, state: AgentState | None) -> str:
    if state is None:
        return "no agent of the site runs now, the order stands for the next one"
    if kind == "hold" and state.stage == "on":
        return "it is on, and stays so until its policy has it leave; `curtail drain` has it leave now"
    if kind == "hold":
        return f"it is {state.stage}, and does not start"
    ends = ", and its agent ends" if kind == "stop" else ""
    return f"it is {state.stage}{ends}" if state.stage == "off" else f"it is {state.stage}, and leaves{ends}"


def _release(args: argparse.Namespace) -> int:
    config = RunConfig.from_yaml(args.config, list(args.set))
    keys = Keys(config.run.name)
    if args.site is not None:
        config.site(args.site)
    with open_store(config.coordination) as store:
        stopped = store.get(keys.stop) is not None
        released = store.delete(keys.stop if args.site is None else keys.order(args.site))
    if args.json:
        print(json.dumps({"released": released, "stopped": stopped and args.site is not None}))
        return 0
    what = "run" if args.site is None else args.site
    print(f"{what}: released" if released else f"{what}: no order stood, nothing is changed")
    if args.site is not None and stopped:
        print("the run is stopped all the same; `curtail release` without a site takes that back")
    elif args.site is None and released:
        print("agents that have ended are started again with `curtail site`")
    return 0


def _of(kind: str) -> "partial[int]":
    return partial(_order, kind)


HOLD = Verb(
    name="hold",
    help="keep a site from starting; one that is on stays until its policy has it leave",
    add_arguments=_add_site_order,
    run=_of("hold"),
)
DRAIN = Verb(
    name="drain",
    help="have a site leave now, and keep it from starting",
    add_arguments=_add_site_order,
    run=_of("drain"),
)
RELEASE = Verb(
    name="release",
    help="take back what was ordered for a site, or, without one, the stop of the run",
    add_arguments=_add_release,
    run=_release,
)
STOP = Verb(
    name="stop",
    help="have every site leave and every agent end; the last one leaves a durable snapshot",
    add_arguments=_add_stop,
    run=_of("stop"),
)
