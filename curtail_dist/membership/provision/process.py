"""A site's ranks as processes of this machine: one torchrun, started under a leash."""

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from curtail_dist.config import RunConfig
from curtail_dist.errors import ProvisionError
from curtail_dist.membership.provision.launch import Launch
from curtail_dist.membership.provision.provisioner import RanksState
from curtail_dist.membership.provision.slots import Slots
from curtail_dist.membership.provision.torchrun import (
    compile_caches,
    rendezvous_id,
    site_environment,
    torchrun_command,
)


class ProcessProvisioner:
    """Owns at most one torchrun and all below it; they end with this process, however it ends."""

    def __init__(
        self,
        config: RunConfig,
        run_file: Path,
        site: str,
        *,
        command: Callable[[RunConfig, Path, str, str], Sequence[str]] = torchrun_command,
    ) -> None:
        """Start nothing yet; output will go to `logs/<site>.log` in the run directory."""
        self._config = config
        self._run_file = run_file
        self._site = site
        self._command = command
        self._log = config.run.directory / "logs" / f"{site}.log"
        own = config.site(site).provisioner
        self._slots = Slots(own.slots, own.slots_directory) if own.slots else None
        self._wanted = own.ranks
        self._launch: Launch | None = None
        self._lock = threading.Lock()
        self._starts = 0

    def start(self, variables: Mapping[str, str] | None = None) -> None:
        """Start torchrun unless it runs, or have it wait for GPU slots."""
        with self._lock:
            if self._launch is not None and self._launch.state().running:
                return
            self._starts += 1
            name = rendezvous_id(self._config, self._site, self._starts)
            command = self._command(self._config, self._run_file, self._site, name)
            environment = site_environment(self._config, self._site, os.environ, variables or {})
            try:
                self._log.parent.mkdir(parents=True, exist_ok=True)
                for variable in compile_caches(self._config, self._site):
                    Path(environment[variable]).mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise ProvisionError(f"the ranks of {self._site} cannot be started: {error}") from error
            launch = Launch(
                command,
                environment,
                self._log,
                site=self._site,
                slots=self._slots,
                wanted=self._wanted,
            )
            try:
                launch.begin()
            finally:
                self._launch = launch

    def poll(self) -> RanksState:
        """Look at torchrun and the ranks below it; take GPU slots that it waits for, where they are free."""
        launch = self._launch
        return RanksState(running=False) if launch is None else launch.state()

    def terminate(self) -> None:
        """Send SIGTERM, which torchrun passes on to the ranks."""
        if self._launch is not None:
            self._launch.terminate()

    def kill(self) -> None:
        """Kill all below the leash, which reaps it and ends by itself."""
        if self._launch is not None:
            self._launch.kill()

    def close(self) -> None:
        """Kill what runs."""
        if self._launch is not None:
            self._launch.close()
