"""`curtail doctor`: looks at all a run needs and says, for what is wrong, what to do."""

import argparse
import json
import os
import socket
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import torch

from curtail_dist.cli.verb import Verb, add_json, add_run_file
from curtail_dist.clock import SystemClock
from curtail_dist.config import RunConfig
from curtail_dist.coordination import open_store
from curtail_dist.data.manifest import read_manifest, verify
from curtail_dist.energy.signals import open_signal
from curtail_dist.errors import CurtailError
from curtail_dist.runtime.address import with_address
from curtail_dist.units import SECONDS_PER_HOUR, hours
from curtail_launch.settings import read_recipe
from nanochat.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one look found."""

    what: str
    well: bool
    says: str


def _etcd(config: RunConfig) -> str:
    with open_store(config.coordination) as store:
        store.get(f"/curtail/{config.run.name}/head")
    return f"answers at {', '.join(config.coordination.endpoints)}"


def _ports(config: RunConfig) -> str:
    for name in config.sites:
        address = with_address(config, name, os.environ).site(name).address
        try:
            socket.create_server((address, 0)).close()
        except OSError as error:
            raise CurtailError(
                f"sites.{name}.address is {address}; this machine cannot listen there "
                f"({error.strerror}): right only if the site runs elsewhere"
            ) from error
    return "every site's address can be listened on here"


def _signals(config: RunConfig) -> str:
    start = config.run.start or datetime.now(UTC)
    clock, until = SystemClock(start), config.run.deadline_h * SECONDS_PER_HOUR
    short = list[str]()
    for name, site in config.sites.items():
        signal = open_signal(site.signal, clock=clock, start=start, site=name)
        try:
            if site.signal.live or site.signal.own:
                signal.latest()  # not every feed says anything of later
            elif (end := signal.outlook(until)[-1][0]) < until:
                short.append(f"that of {name} ends after {hours(end):g} h")
        finally:
            signal.close()
    said = f"{len(config.sites)} can be read"
    if short:
        said += (
            f"; {', '.join(short)}, and run.deadline_h is {config.run.deadline_h:g}: there is none after it"
        )
    return said


def _data(config: RunConfig) -> str:
    manifest = read_manifest(config.data.manifest)
    here = [shard for shard in manifest.shards if shard.path.exists()]
    for shard in here:
        verify(shard)
    found = f"{manifest.rows:,} training rows in {len(manifest.shards)} shards"
    if len(here) == len(manifest.shards):
        return f"{found}, hashes right"
    whence = "another site" if manifest.url is None else f"another site or {manifest.url}"
    return f"{found}, of which {len(here)} are here, hashes right; the others come from {whence}"


def _program(config: RunConfig) -> str:
    if config.train.program != "curtail_launch.train":
        return f"{config.train.program} checks itself: --check --config RUN.yaml"
    recipe = read_recipe(config)
    if not recipe.tokenizer.is_file():
        return f"model, optimizer and schedule fit; {recipe.tokenizer.name} comes from another site"
    tokenizer = Tokenizer.load(recipe.tokenizer)
    if tokenizer.vocab_size != recipe.model.vocab_size:
        raise CurtailError(
            f"model.vocab_size is {recipe.model.vocab_size}; the tokenizer has {tokenizer.vocab_size}"
        )
    return f"model, optimizer and schedule fit; tokenizer of {tokenizer.vocab_size:,} tokens"


def _gpu(config: RunConfig) -> str:
    del config
    if not torch.cuda.is_available():
        return "none: ranks train on the CPU"
    return torch.cuda.get_device_name(0)


LOOKS: dict[str, Callable[[RunConfig], str]] = {
    "etcd": _etcd,
    "addresses": _ports,
    "signals": _signals,
    "data": _data,
    "program": _program,
    "gpu": _gpu,
}


def examine(config: RunConfig) -> list[Finding]:
    """Return what each look found; none of them changes anything."""
    findings: list[Finding] = []
    for what, look in LOOKS.items():
        try:
            findings.append(Finding(what=what, well=True, says=look(config)))
        except (CurtailError, ValueError) as error:
            findings.append(Finding(what=what, well=False, says=" ".join(str(error).split())))
    return findings


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run_file(parser)
    add_json(parser)


def _run(args: argparse.Namespace) -> int:
    findings = examine(RunConfig.from_yaml(args.config, list(args.set)))
    if args.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            print(f"{'ok ' if finding.well else 'BAD'}  {finding.what:<10} {finding.says}")
    return 0 if all(finding.well for finding in findings) else 1


VERB = Verb(
    name="doctor",
    help="check etcd, addresses, signals, data, tokenizer and GPU for a run file",
    add_arguments=_add_arguments,
    run=_run,
)
