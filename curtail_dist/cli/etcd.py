"""`curtail etcd`: an etcd of one member, in the foreground: for development, and for small runs with TLS."""

import argparse
import signal
import threading
from pathlib import Path
from types import FrameType

from curtail_dist.cli.verb import Verb
from curtail_dist.coordination import EmbeddedEtcd
from curtail_dist.coordination.certificates import server_tls
from curtail_dist.errors import UserError
from curtail_dist.units import Seconds

LOOK_S: Seconds = 2.0
"""Time between two looks whether etcd still runs."""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data-dir", type=Path, metavar="DIR", help="keep the data here (default: thrown away at the end)"
    )
    parser.add_argument(
        "--port", type=int, default=2379, metavar="N", help="port for clients, 0 for any (2379)"
    )
    parser.add_argument(
        "--tls",
        type=Path,
        metavar="DIR",
        help="speak TLS with the certificates that `curtail keys new DIR` made",
    )
    parser.add_argument(
        "--listen",
        default="127.0.0.1",
        metavar="HOST",
        help="address to listen on (127.0.0.1); beyond loopback it takes --tls",
    )


def _run(args: argparse.Namespace) -> int:
    if not 0 <= args.port < 2**16:
        raise UserError(f"--port is {args.port}; it must be in [0, 65535]")
    stop = threading.Event()

    def on_terminate(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    before = signal.signal(signal.SIGTERM, on_terminate)
    try:
        tls = server_tls(args.tls) if args.tls is not None else None
        with EmbeddedEtcd(args.data_dir, host=args.listen, port=args.port or None, tls=tls) as etcd:
            print(f"etcd serves on {etcd.endpoint}; Ctrl-C ends it", flush=True)
            watch(etcd, stop)
    finally:
        signal.signal(signal.SIGTERM, before)
    return 0


def watch(etcd: EmbeddedEtcd, stop: threading.Event) -> None:
    """Return when asked to stop; raises CoordinationError when etcd has ended by itself."""
    while not stop.wait(LOOK_S):
        etcd.require_running()


VERB = Verb(
    name="etcd",
    help="run an etcd of one member until Ctrl-C",
    add_arguments=_add_arguments,
    run=_run,
)
