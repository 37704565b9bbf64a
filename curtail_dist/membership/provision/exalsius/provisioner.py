"""A site's machines, added to a Kubernetes cluster by Exalsius while the site takes part.

The cluster's DaemonSet starts the ranks on whatever machines appear, and nobody here sees them: what runs is
machines, and they stay when their ranks have left the run, until they are taken out.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from curtail_dist.config import RunConfig
from curtail_dist.membership.provision.exalsius.api import Declined, ExalsiusApi
from curtail_dist.membership.provision.keeper import Keeper
from curtail_dist.membership.provision.place import Refused, Seen
from curtail_dist.units import Seconds

_ON_ITS_WAY = ("PENDING", "AVAILABLE", "STAGED", "DISCOVERING", "ADDED")
"""Statuses of a machine that the cluster has and does not use yet."""
_UNBOUNDED: Seconds = float("inf")


class ExalsiusProvisioner(Keeper):
    """Keeps one site's machines in its cluster. They outlive it, and are found again by their ids."""

    def __init__(self, config: RunConfig, run_file: Path, site: str) -> None:
        """Begin to look. Raises ProvisionError where the token is not there.

        The machines' ranks read a run file of their own, from a ConfigMap; `run_file` is the agent's.
        """
        del run_file
        own = config.site(site).provisioner.exalsius
        assert own is not None, "the run file's check demands it of this kind"
        super().__init__(
            MachinesPlace(ExalsiusApi(own), own.nodes),
            site=site,
            poll_s=own.poll_s,
            accept_s=own.accept_s,
            stuck_s=_UNBOUNDED,
        )


class MachinesPlace:
    """Machines that are in a cluster or not; all that is known of them stands there."""

    lingers = True
    told_code = 0

    def __init__(self, api: ExalsiusApi, ids: Sequence[str]) -> None:
        """Use `api` for the machines with these ids."""
        self._api = api
        self._ids = ids

    def look(self) -> Seen:
        """See which of the machines the cluster has."""
        machines = self._api.machines()
        there = [id for id in self._ids if id in machines]
        if not there:
            return Seen(there=False, reclaimed="its machines were taken out of the cluster by somebody else")
        if len(there) < len(self._ids):
            return Seen(there=True, waiting=f"{len(there)} of {len(self._ids)} machines are in the cluster")
        for id in there:
            if machines[id].upper() in _ON_ITS_WAY:
                return Seen(there=True, waiting=f"machine {id} is {machines[id].lower()}")
        return Seen(there=True)

    def begin(self, variables: Mapping[str, str]) -> None:
        """Add the machines that the cluster does not have; `variables` do not reach them."""
        del variables
        missing = self._missing()
        if not missing:
            return
        try:
            self._api.add(missing)
        except Declined as error:
            # In the cluster already, by an order whose answer was lost? Else it is a no.
            if self._missing():
                raise Refused(str(error)) from None

    def end(self) -> None:
        """Take the machines out that the cluster has."""
        machines = self._api.machines()
        for id in self._ids:
            if id not in machines:
                continue
            try:
                self._api.remove(id)
            except Declined:
                if id in self._api.machines():
                    raise

    def kill(self) -> None:
        """Do the same: there is no harder way."""
        self.end()

    def close(self) -> None:
        """Nothing is held."""

    def _missing(self) -> list[str]:
        machines = self._api.machines()
        return [id for id in self._ids if id not in machines]
