"""`curtail doctor`: looks at all a run needs and says, for what is wrong, what to do."""

import argparse
import errno
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from curtail_dist.cli.site import check_opens, check_program
from curtail_dist.cli.verb import add_json, add_run_file
from curtail_dist.clock import SystemClock
from curtail_dist.config import RunConfig, SignalConfig
from curtail_dist.coordination import open_store
from curtail_dist.data.manifest import read_manifest, verify
from curtail_dist.energy.prices import price_series
from curtail_dist.energy.signals import Reading, open_signal
from curtail_dist.errors import ConfigError, CurtailError
from curtail_dist.runtime.address import with_address
from curtail_dist.security import PlainWire, exposure, run_secret
from curtail_dist.security.gate import listen
from curtail_dist.units import SECONDS_PER_HOUR, Seconds, hours
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


def _addresses(config: RunConfig) -> str:
    elsewhere, why = _elsewhere(config), dict[str, str]()
    for name, error in elsewhere.items():
        why[name] = f"sites.{name}.address is {config.site(name).address}, which this machine has not"
        if isinstance(error, ConfigError):
            why[name] = str(error)
        elif error.errno != errno.EADDRNOTAVAIL:
            raise CurtailError(
                f"sites.{name}.address is {config.site(name).address}, where no machine can listen "
                f"({error.strerror or error}); give an address of it, or a name that it can look up"
            ) from error
    if len(elsewhere) == len(config.sites):
        raise CurtailError(f"no site can run on this machine: {'; '.join(why.values())}")
    if not elsewhere:
        return "every site's address can be listened on here"
    here = ", ".join(name for name in config.sites if name not in elsewhere)
    return f"{here} can be listened on here; the others must run elsewhere: {'; '.join(why.values())}"


def _elsewhere(config: RunConfig) -> dict[str, OSError | ConfigError]:
    """Return the sites that cannot run on this machine, and what comes of listening at their addresses."""
    found: dict[str, OSError | ConfigError] = {}
    for name in config.sites:
        try:
            address = with_address(config, name, os.environ).site(name).address
            listen(address).close()
        except (ConfigError, OSError) as error:
            found[name] = error
    return found


def _secret(config: RunConfig) -> str:
    secret = run_secret(config)
    if secret is None:
        return exposure(config, PlainWire()) or "there is none, and sites are reached on this machine alone"
    return f"it can be read here, fingerprint {secret.fingerprint}: the same at all sites"


def _signals(config: RunConfig) -> str:
    start, elsewhere = config.run.start or datetime.now(UTC), _elsewhere(config)
    until = config.run.deadline_h * SECONDS_PER_HOUR
    read, said = 0, list[str]()
    for name, site in config.sites.items():
        try:
            found = _asked(site.signal, name, start=start, until=until)
            if site.average is not None:
                _asked(site.average, name, start=start, until=until)
            if site.price is not None:
                price_series(site.price, start)
        except (CurtailError, ValueError) as error:
            # What a feed asks for, or a trace, may be at its own site alone.
            if name not in elsewhere or len(elsewhere) == len(config.sites):
                raise
            said.append(f"that of {name}, which does not run here, cannot be ({error})")
            continue
        read += 1
        if isinstance(found, Reading):
            said.append(f"that of {name} says {found.value:g} g/kWh ({found.basis})")
        elif found < until:
            said.append(
                f"that of {name} ends after {hours(found):g} h, and run.deadline_h is "
                f"{config.run.deadline_h:g}: there is none after it"
            )
    check_opens(config)
    return "; ".join([f"{read} can be read", *said])


def _asked(signal: SignalConfig, site: str, *, start: datetime, until: Seconds) -> Reading | Seconds:
    """Read a signal; return what a feed says now, which need not know of later, else up to when it knows."""
    opened = open_signal(signal, clock=SystemClock(start), start=start, site=site)
    try:
        if signal.live or signal.own:
            return opened.latest()
        return opened.outlook(until)[-1][0]
    finally:
        opened.close()


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


def _snapshots(config: RunConfig) -> str:
    """Say where snapshots go. Whether other machines read the same place cannot be seen from this one."""
    where = f"go below {config.snapshot_url}"
    if "://" in config.snapshot_url or len({site.address for site in config.sites.values()}) == 1:
        return where
    without = {
        "refuse": "a site that cannot is refused: let state.url name one place, or state.unreachable be wait",
        "wait": "one that cannot, and comes when all have left, waits for one that can",
        "rewind": "one that cannot, and comes when all have left, goes on from an older one",
    }
    return f"{where}, which the machines of all sites should read; {without[config.state.unreachable]}"


def _program(config: RunConfig) -> str:
    if config.train.program != "curtail_launch.train":
        with TemporaryDirectory() as folder:
            run_file = Path(folder) / "run.yaml"
            config.to_yaml(run_file)
            check_program(config, run_file)
        return f"{config.train.program} --check finds nothing wrong"
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
    if torch.cuda.is_available():
        return torch.cuda.get_device_name(0)
    kinds = {site.provisioner.kind for site in config.sites.values()}
    elsewhere = ", ".join(sorted(kinds - {"process"}))
    if "process" not in kinds:
        return f"none here; ranks start elsewhere ({elsewhere}), where nobody has looked"
    if config.train.program == "curtail_launch.train" and config.train.options.get("device") == "cuda":
        raise CurtailError(
            "there is none here and train.device is cuda: right only if the sites run elsewhere; look there, "
            "or set train.device to auto"
        )
    unknown = f"; of those that start elsewhere ({elsewhere}) nobody knows" if elsewhere else ""
    return f"none: ranks train on the CPU{unknown}"


LOOKS: dict[str, Callable[[RunConfig], str]] = {
    "etcd": _etcd,
    "addresses": _addresses,
    "secret": _secret,
    "signals": _signals,
    "data": _data,
    "snapshots": _snapshots,
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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Name the verb's arguments."""
    add_run_file(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Look, say what was found, and return 1 where something is wrong."""
    findings = examine(RunConfig.from_yaml(args.config, list(args.set)))
    if args.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            print(f"{'ok ' if finding.well else 'BAD'}  {finding.what:<10} {finding.says}")
    return 0 if all(finding.well for finding in findings) else 1
