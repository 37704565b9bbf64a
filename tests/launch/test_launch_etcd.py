"""launch/systemd/etcd.yaml and what docs/operating.md says of etcd, on three real members of this machine."""

import re
import shlex
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from launchfiles import FOREIGN, LAUNCH, OPERATING

from curtail_dist.coordination.certificates import write_keys
from curtail_dist.coordination.etcd_binary import find_etcd

pytestmark = [pytest.mark.integration, pytest.mark.slow]
NAMES = ("a", "b", "c")


@dataclass
class Member:
    name: str
    client: int
    peer: int
    metrics: int
    process: subprocess.Popen[bytes] | None = None


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        taken = [stack.enter_context(closing(socket.create_server(("127.0.0.1", 0)))) for _ in range(count)]
        return [one.getsockname()[1] for one in taken]


def here(text: str, members: list[Member], folder: Path) -> str:
    """What is written for three machines, for this one: other ports in place of other hosts."""
    for one in members:
        text = re.sub(rf"etcd-{one.name}\.example\.org:2379", f"127.0.0.1:{one.client}", text)
        text = re.sub(rf"etcd-{one.name}\.example\.org:2380", f"127.0.0.1:{one.peer}", text)
    return text.replace("/etc/curtail-etcd", str(folder / "keys"))


def started(member: Member, members: list[Member], folder: Path) -> None:
    text = here((LAUNCH / "systemd" / "etcd.yaml").read_text(), members, folder)
    text = text.replace("name: a", f"name: {member.name}")
    text = text.replace("/var/lib/curtail-etcd/data", str(folder / member.name))
    text = re.sub(r"(advertise-peer-urls: ).*", rf"\1https://127.0.0.1:{member.peer}", text)
    text = re.sub(r"(advertise-client-urls: ).*", rf"\1https://127.0.0.1:{member.client}", text)
    text = text.replace("https://0.0.0.0:2380", f"https://127.0.0.1:{member.peer}")
    text = text.replace("https://0.0.0.0:2379", f"https://127.0.0.1:{member.client}")
    text = text.replace("127.0.0.1:2381", f"127.0.0.1:{member.metrics}")
    (folder / f"{member.name}.yaml").write_text(text)
    with (folder / f"{member.name}.log").open("ab") as log:
        member.process = subprocess.Popen(
            [find_etcd(), "--config-file", str(folder / f"{member.name}.yaml")], stdout=log, stderr=log
        )


def gone(members: list[Member]) -> None:
    """Their machines are lost, all at once."""
    for one in members:
        if one.process is not None:
            one.process.kill()
            one.process.wait(15)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[list[Member], Path]]:
    write_keys(tmp_path / "keys", ["127.0.0.1"], days=2)
    ports = free_ports(9)
    members = [Member(name, *ports[3 * i : 3 * i + 3]) for i, name in enumerate(NAMES)]
    try:
        for one in members:
            started(one, members, tmp_path)
        yield members, tmp_path
    finally:
        gone(members)


def documented(program: str, word: str) -> str:
    """The command of operating.md that begins with `program` and holds `word`."""
    lines = [line.strip() for line in OPERATING.read_text().splitlines()]
    (found,) = [line for line in lines if line.startswith(f"{program} ") and word in line]
    return found


def done(line: str, members: list[Member], folder: Path) -> subprocess.CompletedProcess[str]:
    program, *words = shlex.split(here(line, members, folder))
    words = [str(folder / "keys" / word) if word.endswith(".pem") else word for word in words]
    tool = Path(find_etcd()).with_name(program)
    return subprocess.run(
        [str(tool), *words], cwd=folder, capture_output=True, text=True, timeout=20, check=False
    )


def healthy(members: list[Member], folder: Path) -> None:
    """Return when all members are; one that has not told its address yet is not asked, nor missed."""
    line, deadline = documented("etcdctl", "endpoint health"), time.monotonic() + 30
    while True:
        answer = done(line, members, folder)
        said = answer.stdout + answer.stderr
        if answer.returncode == 0 and said.count("is healthy") == len(members):
            return
        assert time.monotonic() < deadline, said
        time.sleep(0.2)


@pytest.mark.timeout(120)
def test_three_members_form_are_backed_up_and_come_back_from_it(cluster: tuple[list[Member], Path]):
    members, folder = cluster
    healthy(members, folder)
    save = documented("etcdctl", "snapshot save")
    put = save.replace("snapshot save etcd.db", "put /curtail/r/head")
    assert done(f"{put} before", members, folder).returncode == 0
    assert done(save, members, folder).returncode == 0
    assert done(f"{put} after", members, folder).returncode == 0

    open_to_all = put.split(" --cacert")[0] + " --cacert ca.pem get /curtail/r/head"
    assert done(open_to_all, members, folder).returncode != 0, "a client without a certificate got in"

    with urllib.request.urlopen(f"http://127.0.0.1:{members[0].metrics}/metrics", timeout=10) as answer:
        told = answer.read().decode()
    for name in FOREIGN.keys() - {"up"}:
        assert re.search(rf"^{name}(\{{| )", told, re.MULTILINE), name

    gone(members)
    for one in members:
        (folder / one.name).rename(folder / f"{one.name}.lost")
        line = documented("etcdutl", "snapshot restore")
        line = line.replace("--name a ", f"--name {one.name} ")
        line = line.replace("/var/lib/curtail-etcd/data", str(folder / one.name))
        line = re.sub(r"(--initial-advertise-peer-urls ).*", rf"\1https://127.0.0.1:{one.peer}", line)
        restored = done(line, members, folder)
        assert restored.returncode == 0, restored.stderr
        started(one, members, folder)
    healthy(members, folder)
    get = save.replace("snapshot save etcd.db", "get --print-value-only /curtail/r/head")
    assert done(get, members, folder).stdout.strip() == "before"
