"""Where the files in launch/ are, how they are read, and what their commands and queries may say."""

import argparse
import importlib
import shlex
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import yaml
from queries import read_query

from curtail_dist.cli.main import GROUP, VERBS
from curtail_dist.membership.agent.leaving import Limits
from curtail_dist.report.metrics import COUNTERS, GAUGES, LABELS

ROOT = Path(__file__).parent.parent.parent
LAUNCH = ROOT / "launch"
COMPOSE = LAUNCH / "compose"
OPERATING = ROOT / "docs" / "operating.md"
METRICS = COUNTERS | GAUGES
FOREIGN = {
    "up": {"job", "instance"},
    "etcd_server_has_leader": {"job", "instance"},
    "etcd_mvcc_db_total_size_in_bytes": {"job", "instance"},
    "etcd_server_quota_backend_bytes": {"job", "instance"},
}
"""Of Prometheus and etcd; test_launch_etcd.py asks a real etcd for its own."""
LEAVES_S = Limits().interrupted_s + Limits().stop_s + 10.0
"""Real time after which an agent that was told to end has ended: a SIGKILL gets 10 s to work."""


def load(*path: str) -> Any:
    return yaml.safe_load(LAUNCH.joinpath(*path).read_text())


def composed(*names: str) -> dict[str, Any]:
    """Compose files laid over each other as Compose does it, for the keys that ours use."""
    merged = load("compose", names[0])
    for name in names[1:]:
        for service, over in load("compose", name)["services"].items():
            own = merged["services"][service]
            for key, value in over.items():
                if key == "volumes":
                    own[key] = [*own[key], *value]
                elif isinstance(value, dict):
                    own[key] = {**own[key], **value}
                else:
                    own[key] = value
    return merged


def parsed(line: str) -> argparse.Namespace:
    """What `curtail` makes of a command line, without doing it; raises where it would refuse it."""
    _, name, *arguments = shlex.split(line)
    if name in VERBS:
        module, _, attribute = VERBS[name][0].partition(":")
        verb = getattr(importlib.import_module(module), attribute)
    else:
        verb = next(point for point in entry_points(group=GROUP) if point.name == name).load()
    parser = argparse.ArgumentParser(prog=f"curtail {name}")
    verb.add_arguments(parser)
    return parser.parse_args(arguments)


def labels_of(metric: str) -> set[str]:
    """Labels that a metric's series have once Prometheus has asked for them."""
    if metric in FOREIGN:
        return FOREIGN[metric]
    own = METRICS[metric].label
    return {*LABELS, "job", "instance", *([own] if own else [])}


def check_query(text: str) -> set[str]:
    """Return the labels that its series may have; fails for what is not exported."""
    query = read_query(text)
    assert query.metrics, text
    known: set[str] = set()
    for metric, matched in query.metrics.items():
        assert metric in METRICS or metric in FOREIGN, f"nobody exports {metric}: {text}"
        assert matched <= labels_of(metric), f"{metric} has no label {matched - labels_of(metric)}: {text}"
        known |= labels_of(metric)
    assert query.labels <= known, text
    return known
