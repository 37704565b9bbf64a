"""Sets the stage for demo-day.yaml beside it: corpus, tokenizer, traces, an etcd and the virtual clock.

    python launch/runs/demo_day.py [RUN_FILE]

It prints a command for each site's agent and waits until Ctrl-C, which ends etcd and clock. Another RUN_FILE
has the same paths and sites, say with other provisioners.
"""

import signal
import sys
from pathlib import Path

from curtail_launch.demo.day import write_day
from curtail_launch.demo.script import Wishes, prepare
from curtail_launch.demo.stage import Stage, set_stage

from curtail_dist.clock.client import VirtualClock
from curtail_dist.config import RunConfig

BESIDE = Path(__file__).with_name("demo-day.yaml")


def commands(run_file: Path, stage: Stage) -> list[str]:
    """Return what starts each site's agent on this stage."""
    here = f"--set clock.endpoint={stage.clock.endpoint} --set 'coordination.endpoints=[\"{stage.etcd}\"]'"
    sites = RunConfig.from_yaml(run_file).sites
    return [f"curtail site --config {run_file} --site {site} {here}" for site in sites]


def hold_time(stage: Stage, sites: list[str]) -> None:
    """Have the clock stand still until the agent of each site has come."""
    usher = VirtualClock(stage.clock.endpoint, "usher", "work")
    for site in sites:
        usher.reserve(f"agent:{site}", 0.0)
    usher.close()


def main() -> int:
    """Prepare, print and wait."""
    run_file = Path(sys.argv[1]) if len(sys.argv) > 1 else BESIDE
    config = RunConfig.from_yaml(run_file)
    directory = config.run.directory.resolve()
    if directory.exists():
        print(f"{directory} holds an earlier run; it must not be there: move it away", file=sys.stderr)
        return 2
    out = directory.parent
    prepare(Wishes(out=out))
    write_day(out / "traces")
    with set_stage() as stage:
        hold_time(stage, list(config.sites))
        print("each in a terminal of its own:", *commands(run_file, stage), sep="\n    ", flush=True)
        try:
            signal.pause()
        except KeyboardInterrupt:
            print("the stage is struck")
    return 0


if __name__ == "__main__":
    sys.exit(main())
