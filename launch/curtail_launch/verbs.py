"""The verbs of `curtail` that start sites: named here without torch, and loaded when one is chosen."""

import argparse
from importlib import import_module

from curtail_dist.cli.verb import Verb


def _loaded_later(name: str, help: str, module: str) -> Verb:
    """Return a verb of which `module` has `add_arguments` and `run`."""

    def add_arguments(parser: argparse.ArgumentParser) -> None:
        import_module(module).add_arguments(parser)

    def run(args: argparse.Namespace) -> int:
        return import_module(module).run(args)

    return Verb(name=name, help=help, add_arguments=add_arguments, run=run)


DEMO = _loaded_later(
    "demo",
    "play a curtailment day in minutes: real etcd, torchrun and training, virtual clock",
    "curtail_launch.demo.verb",
)
DOCTOR = _loaded_later(
    "doctor",
    "check etcd, addresses, secret, signals, data, snapshots, program and GPU for a run file",
    "curtail_launch.doctor",
)
