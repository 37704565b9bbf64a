"""Which ports torchrun itself listens at, as the kernel has them."""

from pathlib import Path

import pytest
from launching import eventually

from curtail_dist.coordination import EmbeddedEtcd
from curtail_dist.membership.provision import ProcessProvisioner
from curtail_dist.membership.provision.processes import descendants

LISTENING = "0A"
DISABLED = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"
RANK = "import time\nfrom pathlib import Path\nPath({mark!r}).touch()\ntime.sleep(600)\n"


def listening(pids: tuple[int, ...]) -> set[str]:
    """Return the addresses (hexadecimal, as the kernel writes them) at which any of the processes listens."""
    inodes = dict[str, str]()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == LISTENING:
                inodes[f"socket:[{words[9]}]"] = words[1]
    found = set[str]()
    for pid in pids:
        for file in Path(f"/proc/{pid}/fd").iterdir():
            found.add(inodes.get(str(file.readlink()), ""))
    return found - {""}


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.timeout(180)
def test_torchrun_of_one_rank_listens_nowhere_unless_the_run_file_has_it(make_config, tmp_path):
    site = {"signal": {"kind": "constant", "value": 1.0}, "power": {"train_w": 1.0, "idle_w": 1.0}}
    program, mark = tmp_path / "rank.py", tmp_path / "mark"
    program.write_text(RANK.format(mark=str(mark)))
    with EmbeddedEtcd(None) as etcd:
        config = make_config(
            coordination={"endpoints": [etcd.endpoint]},
            sites={"texas": site, "ohio": {**site, "provisioner": {"environment": {DISABLED: "0"}}}},
            train={"program": str(program)},
        )
        found = dict[str, set[str]]()
        for name in ("texas", "ohio"):
            provisioner = ProcessProvisioner(config, tmp_path / "run.yaml", name)
            try:
                provisioner.start()
                eventually(mark.exists, 80.0)
                mark.unlink()
                pid = provisioner.poll().pid
                assert pid is not None
                found[name] = listening((pid, *descendants(pid)))
            finally:
                provisioner.close()
    assert found["texas"] == set()
    assert len(found["ohio"]) > 0  # what the look would have seen
