"""What a site's pod runs, from its own manifest: one launcher, once, and ranks that leave in order."""

import copy
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from kube_controllers import Cluster
from kube_site import LABELS, NAME, Site
from kustomization import ROOT, build
from provision_contract import VARIABLES, ended

from curtail_dist.config import RunConfig
from curtail_dist.errors import ProvisionError
from curtail_dist.membership.provision.kubernetes.pod import main, rendezvous_of
from curtail_dist.membership.provision.kubernetes.start import Start

pytestmark = pytest.mark.integration

TORCHRUN = """
import json, os, pathlib, signal, subprocess, sys, time
shared = pathlib.Path({shared!r})
rank = "import signal, sys, time, pathlib\\n"
rank += "def leave(*_):\\n pathlib.Path({shared!r}, 'left').touch()\\n sys.exit(0)\\n"
rank += "signal.signal(signal.SIGTERM, leave)\\n"
rank += "pathlib.Path({shared!r}, 'rank').touch()\\ntime.sleep(600)"
told = {{"argv": sys.argv[1:], "environment": dict(os.environ)}}
(shared / "told.partial").write_text(json.dumps(told))
(shared / "told.partial").rename(shared / f"told-{{time.monotonic_ns()}}")
child = subprocess.Popen([sys.executable, "-S", "-c", rank], env={{**os.environ, "LOCAL_RANK": "0"}})
def end(*_):
    child.kill()
    sys.exit(1)
signal.signal(signal.SIGTERM, end)
while child.poll() is None:
    if (shared / "fail").exists():
        child.kill()
        sys.exit(3)
    time.sleep(0.01)
sys.exit(abs(child.returncode))
"""


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have `python -m torch.distributed.run` play a launcher of one rank, which tells what it was given."""
    shared = tmp_path / "told"
    shared.mkdir()
    package = tmp_path / "stub" / "torch" / "distributed"
    package.mkdir(parents=True)
    for folder in (package.parent, package):
        (folder / "__init__.py").touch()
    (package / "run.py").write_text(TORCHRUN.format(shared=str(shared)))
    monkeypatch.setenv("PYTHONPATH", str(package.parent.parent))
    return shared


@pytest.fixture
def site(tmp_path: Path, shared: Path, make_config: Callable[..., RunConfig]) -> Iterator[Site]:
    """The StatefulSet of launch/kubernetes in a double's cluster."""
    objects = build(ROOT / "statefulset")
    (made,) = [one for one in objects if (one["kind"], one["metadata"]["name"]) == ("StatefulSet", NAME)]
    (run,) = [one for one in objects if one["kind"] == "ConfigMap" and "run.yaml" in one["data"]]
    with Cluster(tmp_path / "cluster") as cluster:
        site = Site(cluster, tmp_path, make_config, "statefulset")
        tree = yaml.safe_load(run["data"]["run.yaml"])
        tree["run"]["directory"] = str(tmp_path / "run")
        cluster.kubelet.maps = {"curtail-run": {"run.yaml": yaml.safe_dump(tree)}}
        cluster.server.apply(copy.deepcopy(made))
        yield site
        site.subject.provisioner.close()


def begin(site: Site, shared: Path) -> dict[str, object]:
    """Start the site, and return what its launcher was told once its rank runs."""
    site.subject.eventually(ended)
    site.subject.provisioner.start(VARIABLES)
    site.until((shared / "rank").exists)
    site.subject.eventually(lambda state: state.running and not state.waiting)
    return json.loads(max(shared.glob("told-*")).read_text())


def test_a_pod_runs_the_sites_torchrun_with_the_variables_of_its_start(site, shared):
    told = begin(site, shared)
    words = told["argv"]
    with site.server.lock:
        (pod,) = site.server.pods(LABELS)
    assert words[words.index("--rdzv-id") + 1] == f"d20.texas.{pod['metadata']['uid']}"
    assert words[words.index("--nproc-per-node") + 1] == "8"
    assert words[words.index("--site") + 1] == "texas"
    assert Path(words[words.index("--config") + 1]).name == "run.yaml"
    environment = told["environment"]
    assert {name: environment[name] for name in VARIABLES} == VARIABLES
    assert environment["POD_IP"] == "127.0.0.1"


def test_the_hook_has_the_ranks_leave_and_the_launcher_end_in_order(site, shared):
    begin(site, shared)
    site.subject.provisioner.terminate()
    state = site.subject.eventually(ended)
    assert (shared / "left").exists()
    assert state.code in (0, 143)  # 143 where the pod was gone before anybody saw how it had ended
    assert len(list(shared.glob("told-*"))) == 1


def test_a_launcher_that_has_ended_is_not_run_again_in_its_pod(site, shared):
    begin(site, shared)
    with site.server.lock:
        first = next(site.server.pods(LABELS))["metadata"]["uid"]
    site.server.fail("status", times=10_000)  # nobody clears it away before it was run again
    (shared / "fail").touch()
    site.until(lambda: "it waits to be taken away" in site.cluster.kubelet.logs[f"{NAME}-0"].read_text())
    site.server.faults.clear()
    state = site.subject.eventually(ended)
    assert state.code == 3
    site.until(lambda: not site.pods())
    (shared / "fail").unlink()
    assert len(list(shared.glob("told-*"))) == 1
    (shared / "rank").unlink()
    begin(site, shared)
    with site.server.lock:
        assert next(site.server.pods(LABELS))["metadata"]["uid"] != first


def test_a_pod_that_is_killed_leaves_no_rank_behind(site, shared):
    begin(site, shared)
    site.subject.provisioner.kill()
    site.subject.eventually(ended)
    site.until(lambda: not processes_with(shared))


def processes_with(shared: Path) -> list[str]:
    found = []
    for one in Path("/proc").glob("[0-9]*"):
        try:
            words = (one / "cmdline").read_bytes()
        except OSError:
            continue
        if str(shared).encode() in words:
            found.append(one.name)
    return found


def test_the_rendezvous_of_several_pods_is_that_of_their_start(make_config):
    own = {"kind": "kubernetes", "kubernetes": {"name": "texas"}}
    start, machine = Start(id="s1", variables={}), {"CURTAIL_POD_UID": "u1"}
    assert rendezvous_of(make_config(**own), "texas", start, machine) == "day.texas.u1"
    several = make_config(**own, ranks=2, nodes=2)
    assert rendezvous_of(several, "texas", start, machine) == "day.texas.s1"
    with pytest.raises(ProvisionError, match="CURTAIL_START is empty"):
        rendezvous_of(several, "texas", Start(variables={}), machine)
    with pytest.raises(ProvisionError, match=r"CURTAIL_POD_UID is empty; .* metadata.uid"):
        rendezvous_of(make_config(**own), "texas", start, {})


def test_a_hook_in_a_pod_without_ranks_asks_nobody(tmp_path):
    began = time.monotonic()
    assert main(["leave", "--once", str(tmp_path), "--within", "30"]) == 0
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("once", "environment", "said"),
    [
        ("none", {}, "mount an emptyDir there"),
        ("", {"CURTAIL_START": "nonsense"}, "CURTAIL_START is no start"),
        ("", {}, "CURTAIL_POD_UID is empty"),
    ],
)
def test_a_pod_that_is_set_up_wrongly_says_so_in_a_line(
    tmp_path, make_config, monkeypatch, once, environment, said
):
    run_file = tmp_path / "run.yaml"
    make_config(kind="kubernetes", kubernetes={"name": "texas"}).to_yaml(run_file)
    module = "curtail_dist.membership.provision.kubernetes.pod"
    words = ["--config", str(run_file), "--site", "texas", "--once", str(tmp_path / once)]
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    command = [sys.executable, "-m", module, "run", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


RESTARTS = """
import os, pathlib, signal, subprocess, sys
rank = "import pathlib, sys, time\\npathlib.Path(sys.argv[1]).touch()\\ntime.sleep(600)"
child = None
signal.signal(signal.SIGTERM, lambda *_: (child and child.kill(), os._exit(1)))
while True:
    words = [sys.executable, "-S", "-c", rank, sys.argv[1]]
    child = subprocess.Popen(words, env={**os.environ, "LOCAL_RANK": "0"})
    child.wait()
"""


def test_the_hook_ends_a_launcher_that_starts_ranks_anew_after_they_were_asked(tmp_path):
    """Ranks that still import torch die of SIGTERM, and torchrun starts others in their place."""
    rank = tmp_path / "rank"
    with subprocess.Popen([sys.executable, "-S", "-c", RESTARTS, str(rank)]) as launcher:
        try:
            (tmp_path / "begun").write_text(str(launcher.pid))
            deadline = time.monotonic() + 30
            while not rank.exists():
                assert time.monotonic() < deadline
            assert main(["leave", "--once", str(tmp_path), "--within", "20"]) == 0
            assert launcher.wait(30) == 1
        finally:
            launcher.kill()
