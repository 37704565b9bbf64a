"""`curtail site`: the agent of a site, or of several in one process, until the run is complete."""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from curtail_dist.cli.verb import Verb, add_overrides
from curtail_dist.cli.writable import require_writable
from curtail_dist.clock import SystemClock, open_clock
from curtail_dist.config import RunConfig, SignalConfig
from curtail_dist.config.reader import load_yaml
from curtail_dist.coordination import CoordinationStore, open_store
from curtail_dist.energy.meters.opening import open_meter
from curtail_dist.energy.meters.spans import Metering
from curtail_dist.energy.own import find_own
from curtail_dist.energy.policy import build_policy
from curtail_dist.energy.prices import price_series
from curtail_dist.energy.responsive import Responsive
from curtail_dist.energy.signals import open_signal, trace_of
from curtail_dist.energy.stepfunction import StepFunction
from curtail_dist.energy.windows import check_threshold_opens
from curtail_dist.errors import (
    ConfigError,
    CurtailError,
    RunForgotten,
    SignalUnavailable,
    TraceError,
    UserError,
)
from curtail_dist.membership.agent.controller import Agent, Parts
from curtail_dist.membership.agent.crew import FAILED, Crew, worst
from curtail_dist.membership.keys import Keys
from curtail_dist.membership.provision import open_provisioner, program_arguments
from curtail_dist.membership.recovering import forgotten
from curtail_dist.membership.run_start import run_start
from curtail_dist.report.metrics import served_metrics
from curtail_dist.report.wandbprocess import WandbProcess
from curtail_dist.security import run_secret
from curtail_dist.state.places import newest_of
from curtail_dist.telemetry.record import EventLog
from curtail_dist.units import SECONDS_PER_HOUR, Seconds

ALL = "all"
"""The name that stands for every site of the run file, unless one is called so."""
CHECK_S: Seconds = 300.0
"""Real time that the rank program's check may take."""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", required=True, metavar="RUN.yaml", help="the run file")
    parser.add_argument(
        "--site",
        action="append",
        required=True,
        metavar="NAME",
        help=f"one of the run file's sites; several of them by giving it again, or `{ALL}`",
    )
    add_overrides(parser)
    parser.add_argument(
        "--unchecked", action="store_true", help="leave out the rank program's own check of the run file"
    )


def _run(args: argparse.Namespace) -> int:
    config = RunConfig.from_yaml(args.config, list(args.set))
    sites = chosen_sites(config, args.site)
    check_own(config, sites)
    check_opens(config)
    check_secret(config, sites)
    require_writable(config.run.directory, "run.directory")
    run_file = write_effective(config, sites[0], given=Path(args.config))
    if not args.unchecked:
        check_program(config, run_file)
    with _metrics(config, sites), WandbProcess(run_file, sites) if config.telemetry.wandb else nullcontext():
        return _run_agents(config, sites, run_file)


@contextmanager
def _metrics(config: RunConfig, sites: Sequence[str]) -> Generator[None]:
    """Tell Prometheus of the sites while the context is open, where the run file asks for it."""
    address = config.telemetry.prometheus
    if not address:
        yield
        return
    with served_metrics(address, config.run.directory, run=config.run.name, sites=sites) as endpoint:
        print(f"metrics at http://{endpoint.address}/metrics", flush=True)
        yield


def _run_agents(config: RunConfig, sites: Sequence[str], run_file: Path) -> int:
    with open_store(config.coordination) as store:
        refuse_forgotten(config, store)
        start = run_start(config, store)
    if len(sites) == 1:
        return run_agent(config, sites[0], run_file, start=start)
    crew = Crew(
        sites,
        lambda site, ready: run_agent(config, site, run_file, start=start, ready=ready),
        tell=_tell,
    )
    return worst(crew.run())


def refuse_forgotten(config: RunConfig, store: CoordinationStore) -> None:
    """Raise RunForgotten where etcd has lost a run whose snapshots are on this machine.

    ConfigError where they are another run's.

    The ranks refuse that wherever the snapshots are; here it is said before anything of a run that would
    begin anew is written.
    """
    if "://" in config.snapshot_url:
        return  # an agent may not have what it takes to look there
    try:
        newest = newest_of(config.snapshot_url, config.run.name)
    except OSError as error:
        raise UserError(f"snapshots below {config.snapshot_url} cannot be looked for: {error}") from error
    if newest and store.get(Keys(config.run.name).head) is None:
        raise RunForgotten(f"run {config.run.name}: {forgotten(newest)}")


def chosen_sites(config: RunConfig, names: Sequence[str]) -> list[str]:
    """Return the sites that were asked for, each once. Raises ConfigError for one that is not in the file."""
    if ALL in names and ALL not in config.sites:
        return list(config.sites)
    for name in names:
        config.site(name)
    return list(dict.fromkeys(names))


def _tell(site: str, error: Exception) -> int:
    """Say why the agent of one site among several has ended; return the exit code that it would have had."""
    print(f"curtail: site {site}: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
    return 2 if isinstance(error, UserError) else FAILED


def run_agent(
    config: RunConfig,
    site: str,
    run_file: Path,
    *,
    start: datetime,
    ready: Callable[[Agent], None] = lambda agent: None,
) -> int:
    """Build the agent's parts, hand it to `ready`, run it and close them; return its exit code."""
    with ExitStack() as stack:
        store = stack.enter_context(open_store(config.coordination))
        clock = open_clock(config.clock, start=start, participant=f"agent:{site}", kind="poll")
        stack.enter_context(closing(clock))
        process = f"agent.{os.getpid()}"
        signal = open_signal(config.site(site).signal, clock=clock, start=start, site=site)
        own = config.site(site)
        average = own.average and open_signal(own.average, clock=clock, start=start, site=site)
        meter = open_meter(own.meter, clock=clock)
        parts = Parts(
            clock=clock,
            signal=stack.enter_context(closing(signal)),
            start_s=start.timestamp(),
            past=past_of(own.signal, start),
            foresees=own.signal.live or own.signal.own,
            price=None if own.price is None else price_series(own.price, start),
            average=None if average is None else stack.enter_context(closing(average)),
            metering=(None if meter is None else stack.enter_context(closing(Metering(meter, clock=clock)))),
            policy=build_policy(config.policy),
            store=store,
            provisioner=open_provisioner(config, run_file, site),
            events=stack.enter_context(
                EventLog(config.run.directory, site=site, process=process, clock=clock)
            ),
        )
        print(f"site {site} of run {config.run.name}: events and logs in {config.run.directory}", flush=True)
        agent = Agent(config, site, parts)
        ready(agent)
        code = agent.run()
        print(f"site {site}: {agent.outcome}", flush=True)
        return code


def past_of(signal: SignalConfig, start: datetime) -> StepFunction | None:
    """Return a trace over run time, of which a work price plans by what was; None for another signal."""
    if signal.kind not in ("trace", "vessim") or signal.microgrid is not None:
        return None
    return trace_of(signal).series(start)


def write_effective(config: RunConfig, site: str, *, given: Path) -> Path:
    """Write the effective configuration into the run directory and return its path.

    The agents of several sites may share the directory; a reader never finds half a file. Raises ConfigError
    where the run file that was `given` stands there itself: it is its author's. One that says all that the
    effective configuration says is taken as it is.
    """
    final = config.run.directory / "config.yaml"
    if final.exists() and final.samefile(given):
        if load_yaml(final) == config.to_mapping():
            return final
        raise ConfigError(
            f"the run file is {str(final)!r}, where the effective configuration would be written over it; "
            "run.directory must be another directory, or the run file must have another name: change either"
        )
    partial = final.with_name(f"config.{site}.{os.getpid()}.partial")
    config.to_yaml(partial)
    partial.replace(final)
    return final


def check_own(config: RunConfig, sites: Sequence[str]) -> None:
    """Refuse a policy or a signal of the user's own that is not there. Raises ConfigError."""
    build_policy(config.policy)
    for name in sites:
        for part, signal in (("signal", config.site(name).signal), ("average", config.site(name).average)):
            if signal is not None and signal.own:
                find_own(f"sites.{name}.{part}.kind", signal.kind)


def check_secret(config: RunConfig, sites: Sequence[str]) -> None:
    """Refuse a secret that the ranks of a site which start on this machine could not read.

    Raises ConfigError.
    """
    if any(config.site(name).provisioner.kind == "process" for name in sites):
        run_secret(config)


def check_opens(config: RunConfig) -> None:
    """Refuse a threshold that lets no site of the run in, as far as the traces are on this machine.

    Raises ConfigError.
    """
    if config.run.start is None:
        return  # run time 0 is now: a trace's past says nothing of it
    until, series = config.run.deadline_h * SECONDS_PER_HOUR, dict[str, StepFunction]()
    for name, site in config.sites.items():
        if site.signal.live or site.signal.own:
            return  # it may tell of now, and is asked at its own site
        # Vessim would play the same file; reading it here is quicker. A microgrid is greener than its grid,
        # and with a battery more so the less its site has drawn.
        kind = "trace" if site.signal.kind == "vessim" and not site.signal.microgrid else site.signal.kind
        clock = SystemClock(config.run.start)
        try:
            signal = open_signal(
                replace(site.signal, kind=kind), clock=clock, start=config.run.start, site=name
            )
            series[name] = (
                signal.greenest(until)
                if isinstance(signal, Responsive)
                else StepFunction.from_points(signal.outlook(until))
            )
        except (TraceError, SignalUnavailable):
            return  # a trace that lies at its own site; a broken one of ours is told when the agent opens it
    check_threshold_opens(config.policy, series, until)


def check_program(config: RunConfig, run_file: Path) -> None:
    """Let the rank program check its part of the run file.

    Raises UserError with the program's own line where the file is wrong, CurtailError where the program does
    not run.
    """
    program = config.train.program
    if program.endswith(".py") and not Path(program).is_file():
        raise UserError(
            f"train.program is {program!r}, and there is no such file beside the run file, nor where this "
            "was started; give the path of a script, or the name of a module"
        )
    command = [sys.executable, *program_arguments(program), "--check", "--config", str(run_file)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=CHECK_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise CurtailError(
            f"{program} --check takes longer than {CHECK_S:g} s; run it by hand to see why"
        ) from error
    if done.returncode == 0:
        return
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    said = lines[-1].strip() if lines else "nothing"
    if done.returncode == 2:
        raise UserError(said.removeprefix("error: "))
    raise CurtailError(f"{program} --check ended with code {done.returncode} and said: {said}")


VERB = Verb(
    name="site",
    help="run a site's agent until the run is complete: signal, policy, ranks started and drained",
    add_arguments=_add_arguments,
    run=_run,
)
