"""Two real sites on one machine, or one GPU: what the exchange costs a run, with a drain and a join.

    python benchmarks/bench_outer_sites.py [--depth 2] [--device cpu] [--minutes 0.5] [--codec int4]
                                           [--out benchmarks/results/outer_sites.json]

nanochat, trained by `curtail_launch.train` in two processes, with outer.sync_delay 0 and 1. Site b is told to
leave when a third of the rows are done, and is started anew. Saved, by delay: the share of its time in which
a process did no inner step, bytes a commit, and the host memory of each process at its peak. Hashes that
differ between the sites end it with an error. Both compute on the same cores or the same GPU, so that one's
step slows the other's; rounds are short; and loopback is no link.
"""

import argparse
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from curtail_launch.demo.script import Material, Wishes, learning, prepare
from thinlink.record import conditions, save

from curtail_dist.coordination.embedded import EmbeddedEtcd
from curtail_dist.errors import DataError
from curtail_dist.report.chain import read_chain
from curtail_dist.telemetry.record import Record, read_events

SITE = {"signal": {"kind": "constant", "value": 10.0}, "power": {"train_w": 100.0, "idle_w": 10.0}}
ROUND_STEPS, FRAGMENTS = 32, 4
DEADLINE_S = 420.0
_LOOK_S = 0.1


@dataclass
class Sites:
    """The processes of a run, and how much memory each has had at most."""

    run_file: Path
    alive: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    peaks: dict[int, int] = field(default_factory=dict[int, int])
    """Bytes, by process."""

    def start(self, site: str) -> None:
        """Start a site's one rank."""
        command = [
            sys.executable,
            "-m",
            "curtail_launch.train",
            "--config",
            str(self.run_file),
            "--site",
            site,
        ]
        self.alive[site] = subprocess.Popen(command)

    def look(self) -> bool:
        """Note the peaks of memory; return whether any process lives. Raises RuntimeError if one failed."""
        for site, process in list(self.alive.items()):
            status = Path(f"/proc/{process.pid}/status")
            lines = status.read_text().splitlines() if status.exists() else []
            peak = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)
            if process.poll() is not None:
                del self.alive[site]
                if process.returncode:
                    raise RuntimeError(f"site {site} ended with {process.returncode}")
            elif peak:
                self.peaks[process.pid] = peak
        return bool(self.alive)

    def close(self) -> None:
        """Kill what is left."""
        for process in self.alive.values():
            process.kill()
            process.wait()


def tree(
    material: Material, folder: Path, etcd: str, *, delay: int, args: argparse.Namespace
) -> dict[str, Any]:
    """Return the run file."""
    learned = learning(material)
    width = 64 * args.depth
    model = {**learned["model"], "n_layer": args.depth, "n_embd": width, "n_head": max(1, width // 128)}
    outer = {**learned["outer"], "codec": args.codec, "fragments": FRAGMENTS, "sync_delay": delay}
    return {
        "run": {"name": f"sites-{delay}", "directory": str(folder), "seed": 1},
        "coordination": {"endpoints": [etcd]},
        "sites": {"a": SITE, "b": SITE},
        "round": {"steps": ROUND_STEPS},
        **learned,
        "model": model,
        "outer": outer,
        "train": {**learned["train"], "device": args.device, "eval_every": 1_000_000},
    }


def play(material: Material, folder: Path, *, delay: int, args: argparse.Namespace) -> dict[str, Any]:
    """Train once to the end; return the figures."""
    folder.mkdir(parents=True)
    with EmbeddedEtcd() as etcd:
        run_file = folder / "run.yaml"
        run_file.write_text(yaml.safe_dump(tree(material, folder, etcd.endpoint, delay=delay, args=args)))
        sites = Sites(run_file)
        try:
            sites.start("a")
            sites.start("b")
            _follow(sites, folder)
        finally:
            sites.close()
    return figures(list(read_events(folder)), sorted(sites.peaks.values()))


def _follow(sites: Sites, folder: Path) -> None:
    """Have b leave and come back; return when the run is over. Raises TimeoutError."""
    deadline, told = time.monotonic() + DEADLINE_S, False
    while sites.look():
        if time.monotonic() > deadline:
            raise TimeoutError(f"the run did not end within {DEADLINE_S} s")
        if not told and _share_done(folder) > 1 / 3 and "b" in sites.alive:
            sites.alive["b"].send_signal(signal.SIGTERM)
            told = True
        elif told and "b" not in sites.alive and "a" in sites.alive and len(sites.peaks) == 2:
            sites.start("b")
        time.sleep(_LOOK_S)


def _share_done(folder: Path) -> float:
    try:
        records = list(read_events(folder))
    except DataError:  # nobody has written any yet
        return 0.0
    total = next((record["rows"] for record in records if record.event == "run_started"), 0)
    done = max((record["rows"] for record in records if record.event == "commit"), default=0)
    return done / total if total else 0.0


def figures(records: list[Record], peaks: list[int]) -> dict[str, Any]:
    """Return what a run came to. Raises StateDiverged if hashes of a version differ."""
    chain = read_chain(records)
    commits = [record for record in records if record.event == "commit"]
    together = [record for record in commits if len(record["work"]) > 1]
    shares = [share for share in map(_stalled, _by_process(records)) if share is not None]
    tokens = sum(each["tokens"] for one in chain.commits for each in one.work)
    return {
        "commits": len(chain.commits),
        "commits_of_two_sites": len({record["version"] for record in together}),
        "joins": sum(record.event == "joined" for record in records),
        "drains": sum(record.event == "drained" for record in records),
        "tokens": tokens,
        "stall_share": {"median": statistics.median(shares), "most": max(shares)},
        "stall_s_a_commit": statistics.median(record["stall_s"] for record in together),
        "bytes_a_commit": statistics.median(record["bytes_sent"] for record in together),
        "host_peak_bytes": peaks,
    }


def _by_process(records: list[Record]) -> list[list[Record]]:
    ranks = [record for record in records if record.process.startswith("rank")]
    return [
        [one for one in ranks if one.process == process] for process in sorted({r.process for r in ranks})
    ]


def _stalled(records: list[Record]) -> float | None:
    """Return the share of a process's time between its first and last commit in which it did no step."""
    commits = [record for record in records if record.event == "commit"]
    if len(commits) < 3:
        return None
    whole = (commits[-1].wall - commits[0].wall).total_seconds()
    return sum(record["stall_s"] for record in commits[1:]) / whole


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--depth", type=int, default=2)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--minutes", type=float, default=0.5, help="of the demo's corpus")
    parser.add_argument("--codec", default="int4")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/outer_sites.json"))
    args = parser.parse_args()
    before = conditions()
    with tempfile.TemporaryDirectory() as scratch:
        material = prepare(Wishes(out=Path(scratch) / "material", minutes=args.minutes))
        played = {
            f"sync_delay {delay}": play(material, Path(scratch) / f"run-{delay}", delay=delay, args=args)
            for delay in (0, 1)
        }
    print(json.dumps(played, indent=1))
    result = {
        "gpu": torch.cuda.get_device_name() if args.device == "cuda" else None,
        "depth": args.depth,
        "codec": args.codec,
        "fragments": FRAGMENTS,
        "round_steps": ROUND_STEPS,
        "figures": played,
    }
    save(args.out, result, before=before)


if __name__ == "__main__":
    main()
