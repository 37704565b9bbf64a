"""The verbs of `curtail` that start sites: named here without torch, and loaded when one is chosen."""

import argparse

from curtail_dist.cli.verb import Verb


def _demo_arguments(parser: argparse.ArgumentParser) -> None:
    from curtail_launch.demo.verb import add_arguments  # here: it loads torch

    add_arguments(parser)


def _demo(args: argparse.Namespace) -> int:
    from curtail_launch.demo.verb import run

    return run(args)


def _doctor_arguments(parser: argparse.ArgumentParser) -> None:
    from curtail_launch.doctor import add_arguments

    add_arguments(parser)


def _doctor(args: argparse.Namespace) -> int:
    from curtail_launch.doctor import run

    return run(args)


DEMO = Verb(
    name="demo",
    help="play a curtailment day in minutes: real etcd, torchrun and training, virtual clock",
    add_arguments=_demo_arguments,
    run=_demo,
)
DOCTOR = Verb(
    name="doctor",
    help="check etcd, addresses, secret, signals, data, snapshots, program and GPU for a run file",
    add_arguments=_doctor_arguments,
    run=_doctor,
)
