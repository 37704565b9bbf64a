"""Starting and stopping a site's ranks."""

from curtail_dist.membership.provision.process import ProcessProvisioner, program_arguments
from curtail_dist.membership.provision.processes import ranks_below
from curtail_dist.membership.provision.provisioner import Provisioner, RanksState

__all__ = ["ProcessProvisioner", "Provisioner", "RanksState", "program_arguments", "ranks_below"]
