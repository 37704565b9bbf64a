import signal
import subprocess
import sys

import pytest

from curtail_dist.config import CoordinationConfig
from curtail_dist.coordination import open_store
from curtail_dist.errors import StoreUnavailable

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_the_local_etcd_serves_until_it_is_interrupted(tmp_path, number: int, code: int):
    command = [sys.executable, "-m", "curtail_dist.cli.main", "etcd", "--data-dir", str(tmp_path / "data")]
    with subprocess.Popen([*command, "--port", "0"], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            endpoint = line.split()[3].rstrip(";")
            with open_store(CoordinationConfig(endpoints=(endpoint,), timeout_s=2.0)) as store:
                store.put("/a", b"1")
                process.send_signal(number)
                assert process.wait(20) == code
                with pytest.raises(StoreUnavailable):
                    store.get("/a")
        finally:
            process.kill()
    assert (tmp_path / "data").is_dir()
