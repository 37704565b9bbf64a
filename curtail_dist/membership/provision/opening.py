"""Opens what starts and stops a site's ranks, as its run file says."""

from pathlib import Path

from curtail_dist.config import RunConfig
from curtail_dist.membership.provision.provisioner import Provisioner


def open_provisioner(config: RunConfig, run_file: Path, site: str) -> Provisioner:
    """Return the provisioner of `provisioner.kind`; each kind's module is imported only where it is used.

    Its owner closes it. Raises ProvisionError where the kind lacks what it needs on this machine.
    """
    kind = config.site(site).provisioner.kind
    if kind == "command":
        from curtail_dist.membership.provision.command import CommandProvisioner

        return CommandProvisioner(config, run_file, site)
    if kind == "slurm":
        from curtail_dist.membership.provision.slurm.provisioner import SlurmProvisioner

        return SlurmProvisioner(config, run_file, site)
    if kind == "kubernetes":
        from curtail_dist.membership.provision.kubernetes.provisioner import KubernetesProvisioner

        return KubernetesProvisioner(config, run_file, site)
    if kind == "exalsius":
        from curtail_dist.membership.provision.exalsius.provisioner import ExalsiusProvisioner

        return ExalsiusProvisioner(config, run_file, site)
    from curtail_dist.membership.provision.process import ProcessProvisioner

    return ProcessProvisioner(config, run_file, site)
