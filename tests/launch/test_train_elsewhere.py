"""nanochat at two sites with disks of their own: one has the data, the other the manifest alone."""

import shutil
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from curtail_launch import train
from curtail_launch.demo.script import learning, write_run_file

from curtail_dist.config import CoordinationConfig, RunConfig
from curtail_dist.coordination import open_store
from curtail_dist.coordination.embedded import EmbeddedEtcd
from curtail_dist.data.manifest import read_manifest, sha256_of
from curtail_dist.membership.keys import Keys
from curtail_dist.membership.provision import ProcessProvisioner
from curtail_dist.membership.records import Presence
from curtail_dist.report.build import summarize
from curtail_dist.telemetry.record import read_events
from nanochat.tok_train import tokenizer_path
from nanochat.tokenizer import Tokenizer, train_tokenizer

DEADLINE_S = 150.0
PROGRAM = Path(__file__).with_name("held_train.py")
SITE = {"signal": {"kind": "constant", "value": 10.0}, "power": {"train_w": 100.0, "idle_w": 10.0}}


def tree(material, folder, etcd, corpus):
    """The run file of a small model at a site whose corpus lies there."""
    learned = learning(material)
    shape = {"n_layer": 1, "n_embd": 32, "n_head": 2, "sequence_length": 64}
    return {
        "run": {"name": "apart", "directory": str(folder), "seed": 1},
        "coordination": {"endpoints": [etcd]},
        "sites": {"texas": SITE, "california": SITE},
        "round": {"steps": 40},
        "state": {"url": str(folder.parents[1] / "snapshots")},
        **learned,
        "data": {"manifest": str(corpus / "data" / "manifest.json")},
        "model": {**learned["model"], **shape},
        "train": {
            **learned["train"],
            "tokenizer": "../tokenizer/tokenizer.json",
            "program": str(PROGRAM),
            "device": "cpu",
            "device_batch_size": 8,
            "eval_sequences": 8,
        },
    }


def bare(whole, corpus):
    """A corpus of which only the manifest is there."""
    (corpus / "data").mkdir(parents=True)
    shutil.copy(whole / "data" / "manifest.json", corpus / "data")
    return corpus


def of_an_earlier_run(folder):
    """A run directory in which another tokenizer was left."""
    train_tokenizer(["x" * 300], vocab_size=265, doc_cap=300, max_chars=300).save(tokenizer_path(folder))
    return folder


def is_ready(store, site):
    """Whether a site holds head's state and asks to enter."""
    entry = store.get(Keys("apart").member(site))
    return entry is not None and bool(Presence.decode(entry.value).ready)


def events(folder, name):
    return [record for record in read_events(folder) if record.event == name] if folder.exists() else []


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_site_that_has_only_the_manifest_gets_tokenizer_and_shards_from_the_other(material, tmp_path):
    whole = material.manifest.parents[1]
    lacking = bare(whole, tmp_path / "california" / "corpus")
    folders = {site: of_an_earlier_run(tmp_path / site / "run") for site in ("texas", "california")}
    with ExitStack() as stack:
        etcd = stack.enter_context(EmbeddedEtcd())
        at = {}
        for site, corpus in (("texas", whole), ("california", lacking)):
            run_file = write_run_file(tree(material, folders[site], etcd.endpoint, corpus), folders[site])
            at[site] = ProcessProvisioner(RunConfig.from_yaml(run_file), run_file, site)
            stack.callback(at[site].close)

        def wait(until):
            deadline = time.monotonic() + DEADLINE_S
            while not until():
                logs = [path.read_text()[-3_000:] for path in tmp_path.glob("*/run/logs/*")]
                assert all(one.poll().code in (None, 0) for one in at.values()), logs
                assert time.monotonic() < deadline, logs
                time.sleep(0.05)

        at["texas"].start()
        wait(lambda: (folders["texas"] / "events").exists() and events(folders["texas"], "joined"))
        at["california"].start()
        store = stack.enter_context(open_store(CoordinationConfig(endpoints=(etcd.endpoint,))))
        wait(lambda: is_ready(store, "california"))
        for folder in folders.values():
            (folder / "go").touch()
        wait(lambda: not any(one.poll().running for one in at.values()))
        assert [one.poll().code for one in at.values()] == [0, 0]
    manifest = read_manifest(lacking / "data" / "manifest.json")
    assert sha256_of(lacking / "tokenizer" / "tokenizer.json") == manifest.tokenizer.sha256
    kept = [Tokenizer.load(tokenizer_path(folder)).hash for folder in (lacking, *folders.values())]
    assert kept == kept[:1] * 3
    fetched = events(folders["california"], "fetched")
    names = {shard.file for shard in (*manifest.shards, *manifest.held_out)}
    assert {one["file"] for one in fetched} == {*names, manifest.tokenizer.file}
    assert not events(folders["texas"], "fetched")
    (joined,) = events(folders["california"], "joined")
    assert fetched[-1].wall < joined.wall and joined["causes"]["data"] > 0
    summary = summarize(list(folders.values()))
    rows = summary["rows"]
    assert summary["finished"]
    assert (rows["trained"], rows["lost"], rows["duplicated"]) == (rows["total"], 0, 0)
    works = [work for commit in events(folders["texas"], "commit") for work in commit["work"]]
    assert {work["site"] for work in works if work["tokens"]} == set(folders)


def test_the_rank_program_accepts_a_tokenizer_that_the_manifest_names(material, tmp_path, capsys):
    corpus = bare(material.manifest.parents[1], tmp_path / "corpus")
    path = write_run_file(tree(material, tmp_path / "run", "127.0.0.1:9", corpus), tmp_path / "run")
    assert train.main(["--check", "--config", str(path)]) == 0
    manifest = corpus / "data" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"tokenizer"', '"else"'))
    assert train.main(["--check", "--config", str(path)]) == 2
    said = capsys.readouterr().err
    assert "tokenizer.json, which is no file, and " in said and "names none" in said
