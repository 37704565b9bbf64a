"""`curtail etcd`: a local etcd for development, in the foreground."""

import argparse
import signal
import threading
from pathlib import Path
from types import FrameType

from curtail_dist.cli.verb import Verb
from curtail_dist.config import CoordinationConfig
from curtail_dist.coordination import EmbeddedEtcd, open_store
from curtail_dist.errors import StoreUnavailable
from curtail_dist.units import Seconds

LOOK_S: Seconds = 2.0
"""Time between two looks whether etcd still answers."""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data-dir", type=Path, metavar="DIR", help="keep the data here (default: thrown away at the end)"
    )
    parser.add_argument(
        "--port", type=int, default=2379, metavar="N", help="client port on 127.0.0.1, 0 for any (2379)"
    )


def _run(args: argparse.Namespace) -> int:
    stop = threading.Event()

    def on_terminate(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    before = signal.signal(signal.SIGTERM, on_terminate)
    try:
        with EmbeddedEtcd(args.data_dir, port=args.port or None) as etcd:
            print(f"etcd serves on {etcd.endpoint}; Ctrl-C ends it", flush=True)
            _watch(etcd.endpoint, stop)
    finally:
        signal.signal(signal.SIGTERM, before)
    return 0


def _watch(endpoint: str, stop: threading.Event) -> None:
    """Return when asked to stop; raises StoreUnavailable when etcd no longer answers."""
    with open_store(CoordinationConfig(endpoints=(endpoint,))) as store:
        while not stop.wait(LOOK_S):
            try:
                store.get("/curtail/")
            except StoreUnavailable:
                if not stop.is_set():
                    raise


VERB = Verb(
    name="etcd",
    help="run a local etcd for development until Ctrl-C",
    add_arguments=_add_arguments,
    run=_run,
)
