"""Starting and stopping a site's ranks."""

from curtail_dist.membership.provision.opening import open_provisioner
from curtail_dist.membership.provision.process import ProcessProvisioner
from curtail_dist.membership.provision.processes import ranks_below
from curtail_dist.membership.provision.provisioner import Provisioner, RanksState
from curtail_dist.membership.provision.torchrun import program_arguments

__all__ = [
    "ProcessProvisioner",
    "Provisioner",
    "RanksState",
    "open_provisioner",
    "program_arguments",
    "ranks_below",
]
