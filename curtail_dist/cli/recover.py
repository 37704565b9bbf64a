"""`curtail recover`: etcd's data is gone, the snapshots are not; the run goes on from the newest of them."""

import argparse
import json
from typing import Any

from curtail_dist.cli.verb import Verb, add_json, add_run_file
from curtail_dist.config import RunConfig
from curtail_dist.coordination import open_store
from curtail_dist.errors import CurtailError
from curtail_dist.runtime.recovery import Recovery, recover


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run_file(parser)
    parser.add_argument(
        "--from",
        dest="url",
        metavar="URL",
        help="directory, or URL that fsspec opens, below which the snapshots are (where the run keeps them)",
    )
    parser.add_argument(
        "--replace", action="store_true", help="also where etcd has a head of the run: it gives way"
    )
    add_json(parser)


def _run(args: argparse.Namespace) -> int:
    config = RunConfig.from_yaml(args.config, list(args.set))
    url = args.url or config.snapshot_url
    try:
        with open_store(config.coordination) as store:
            done = recover(config, store, url=url, replace=args.replace)
    except OSError as error:
        raise CurtailError(
            f"snapshots below {url} cannot be read, or not written below {config.snapshot_url}: {error}"
        ) from error
    print(json.dumps(_facts(config, done), indent=2) if args.json else _text(config, done, args.config))
    return 0


def _facts(config: RunConfig, done: Recovery) -> dict[str, Any]:
    head = done.run.head
    return {
        "run": config.run.name,
        "recovered": done.written,
        "version": head.version,
        "hash": head.hash,
        "tokens": head.tokens,
        "rows": {"total": head.total_rows, "done": head.ledger.rows_done},
        "complete": head.complete,
        "start": done.run.start.isoformat(),
        "newest_version_told": done.told,
        "replaced_version": None if done.replaced is None else done.replaced.version,
    }


def _text(config: RunConfig, done: Recovery, run_file: str) -> str:
    head, name = done.run.head, config.run.name
    rows = f"{head.ledger.rows_done:,} of {head.total_rows:,} rows"
    if not done.written:
        return (
            f"{name}: etcd has version {head.version} as head, of which the newest snapshot is, with {rows}; "
            "nothing is changed"
        )
    lines = [
        f"{name}: version {head.version} is head, with {head.tokens:,} tokens and {rows}",
        f"run time 0 is {done.run.start.isoformat()}",
    ]
    gone = max(done.told, 0 if done.replaced is None else done.replaced.version)
    if gone > head.version:
        lines.append(
            f"versions after it, up to {gone} as far as is known here, are dropped; their rows are trained "
            "again"
        )
    if not done.run.identity:
        lines.append(
            "the snapshot does not say what was trained: start first a site that has not been changed"
        )
    if done.ordered:
        lines.append("an operator's order stands: `curtail status` shows it, `curtail release` takes it back")
    else:
        lines.append("operators' orders, if there were any, are gone with etcd's data")
    if head.complete:
        lines.append("the run is complete")
    else:
        lines.append(f"go on with: curtail site --config {run_file} --site NAME")
    return "\n".join(lines)


VERB = Verb(
    name="recover",
    help="etcd's data is gone: begin a new chain from the newest complete snapshot",
    add_arguments=_add_arguments,
    run=_run,
)
