"""What a site lacks on its disk, and how it comes there."""

import hashlib
import json
import logging
import shutil
import threading

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lab import sorted_rows, wait_for

from curtail_dist.config import RunConfig
from curtail_dist.data.manifest import read_manifest
from curtail_dist.errors import DataError
from curtail_dist.runtime.inner_loop import Upcoming
from curtail_dist.runtime.site_data import SiteData
from curtail_dist.security import PlainWire
from curtail_dist.state.transfer import StateServer

SHARDS = 6
ROWS = 20


@pytest.fixture
def whole(tmp_path):
    """A data set of six shards and a held-out one, with a tokenizer beside it."""
    folder = tmp_path / "whole" / "data"
    folder.mkdir(parents=True)
    entries = []
    for number in range(SHARDS + 1):
        path = folder / f"{number}.parquet"
        pq.write_table(pa.table({"text": [f"{number} {row}" for row in range(ROWS)]}), path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        split = "val" if number == SHARDS else "train"
        entries.append({"file": path.name, "split": split, "rows": ROWS, "bytes": 100, "sha256": digest})
    tokenizer = folder.parent / "tokenizer.json"
    tokenizer.write_text("{}")
    named = {"file": "../tokenizer.json", "sha256": hashlib.sha256(b"{}").hexdigest()}
    manifest = {"schema": 1, "name": "n", "column": "text", "shards": entries, "hash": "h"}
    (folder / "manifest.json").write_text(json.dumps({**manifest, "tokenizer": named}))
    return folder


class Pair:
    """One site's data that is whole and given to others, and another site's, which has the manifest alone."""

    def __init__(self, whole, here, **data):
        here.mkdir()
        shutil.copy(whole / "manifest.json", here)
        self.fetched = []
        self.giver = site_data(whole, "a", list, self.told)
        self.server = StateServer(
            run="r", host="127.0.0.1", wire=PlainWire(), current=lambda: None, file_of=self.giver.place_of
        )
        self.givers = [("127.0.0.1", self.server.port)]
        self.here = here
        self.lacking = site_data(here, "b", lambda: self.givers, self.told, **data)

    def told(self, file, what):
        self.fetched.append(file)

    def there(self):
        return sorted(int(path.stem) for path in self.here.glob("?.parquet"))

    def close(self):
        self.lacking.close()
        self.server.close()


def site_data(folder, site, givers, told, **data):
    power = {"train_w": 1.0, "idle_w": 1.0}
    sites = {name: {"signal": {"kind": "constant", "value": 1.0}, "power": power} for name in "ab"}
    config = RunConfig.from_mapping(
        {
            "run": {"name": "r", "directory": str(folder / "run")},
            "sites": sites,
            "data": {"manifest": str(folder / "manifest.json"), **data},
            "state": {"transfer_timeout_s": 1.0},
        }
    )
    return SiteData(config, site=site, wire=PlainWire(), givers=givers, progress=lambda: None, told=told)


@pytest.fixture
def pair(whole, tmp_path):
    pair = Pair(whole, tmp_path / "here")
    yield pair
    pair.close()


def shards_at(data, *positions):
    return [data.number(position) // ROWS for position in positions]


def test_a_row_whose_shard_is_not_here_comes_from_another_site(pair):
    for position in (0, ROWS * SHARDS - 1):
        assert pair.lacking.row(position, 3) == pair.giver.row(position, 3)
    assert pair.there() == sorted(shards_at(pair.giver, 0, ROWS * SHARDS - 1))
    assert len(pair.fetched) == 2


def test_what_a_joining_site_is_about_to_read_comes_before_it_is_in(pair):
    pair.lacking.expect(Upcoming(rows=((30, 41), (100, 101))), stop=lambda: False)
    assert pair.there() == sorted(shards_at(pair.giver, 30, 40, 100))


def test_before_the_first_round_no_more_comes_than_is_read_soon(pair):
    pair.lacking.expect(Upcoming(rows=((0, ROWS * SHARDS),), vague=True), stop=lambda: False)
    assert pair.there() == sorted(shards_at(pair.giver, 0, ROWS, 2 * ROWS))


def test_a_site_that_is_told_to_leave_waits_for_no_data(pair):
    pair.lacking.expect(Upcoming(rows=((0, ROWS * SHARDS),)), stop=lambda: True)
    assert pair.there() == []


def test_what_is_read_next_comes_while_the_site_trains(pair):
    pair.lacking.start()
    pair.lacking.read_next([(0, 5)], None)
    wait_for(lambda: pair.there() == shards_at(pair.giver, 0), "the shard in use")
    pair.lacking.read_next([(5, 90)], None)
    expected = sorted(shards_at(pair.giver, 0, ROWS, 2 * ROWS))
    wait_for(lambda: pair.there() == expected, "the shards ahead")
    pair.lacking.close()
    assert pair.there() == expected, "no more than was asked for"


def test_nothing_is_fetched_that_is_here(pair, whole):
    for path in whole.glob("*.parquet"):
        shutil.copy(path, pair.here)
    pair.givers = [("127.0.0.1", 9)]  # nobody listens there
    assert [pair.lacking.row(position, 0).index for position in range(ROWS * SHARDS)] == [
        pair.giver.number(position) for position in range(ROWS * SHARDS)
    ]
    assert pair.fetched == []


def test_the_held_out_shard_and_the_tokenizer_come_too_and_are_given_on(pair, tmp_path):
    place = tmp_path / "elsewhere" / "t.json"
    named = read_manifest(pair.here / "manifest.json").tokenizer
    with pytest.raises(DataError, match="does not have that file"):
        pair.lacking.obtain(place, named.sha256)
    pair.giver.obtain(tmp_path / "whole" / "tokenizer.json", named.sha256)
    pair.lacking.obtain(place, named.sha256)
    assert place.read_text() == "{}"
    assert pair.lacking.place_of(named.sha256) == place
    pair.lacking.obtain_held_out()
    assert pair.there() == [SHARDS]
    held_out = read_manifest(pair.here / "manifest.json").held_out[0]
    assert pair.lacking.place_of(held_out.sha256) == held_out.path


def test_what_no_site_has_comes_from_the_manifests_address(pair, whole):
    manifest = json.loads((pair.here / "manifest.json").read_text())
    away = whole.rename(whole.with_name("away"))
    (pair.here / "manifest.json").write_text(json.dumps({**manifest, "url": str(away)}))
    lacking = site_data(pair.here, "b", lambda: pair.givers, pair.told)
    assert lacking.row(0, 0).text.split()[0] == str(shards_at(lacking, 0)[0])
    lacking.close()


def test_a_site_that_comes_later_may_bring_what_is_missing(pair, caplog):
    late, pair.givers = pair.givers, [("127.0.0.1", 9)]
    caplog.set_level(logging.WARNING)
    rows = []
    reader = threading.Thread(target=lambda: rows.append(pair.lacking.row(0, 0)))
    reader.start()
    wait_for(lambda: "trying again" in caplog.text, "a first try in vain")
    pair.givers = late
    reader.join(timeout=20)
    assert rows == [pair.giver.row(0, 0)]


def test_what_comes_from_nowhere_is_one_error_that_says_whom_it_asked(pair):
    pair.givers = [("127.0.0.1", 9)]
    with pytest.raises(
        DataError, match=r"\.parquet is not here .*127\.0\.0\.1:9: .*refused.*give the manifest"
    ):
        pair.lacking.row(0, 0)
    pair.givers = []
    with pytest.raises(DataError, match="nobody to ask"):
        pair.lacking.row(0, 0)


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_site_that_has_only_the_manifest_joins_a_run(make_lab, store):
    lab = make_lab("lacking", train={"step_s": 0.01})
    elsewhere = lab.folder / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(lab.folder / "data" / "manifest.json", elsewhere)
    gate = lab.gate("together")
    founder = lab.start("a", f"train.gate={gate}")
    lab.until(lambda: lab.events("joined"), "a founder")
    joiner = lab.start("b", f"train.gate={gate}", f"data.manifest={elsewhere / 'manifest.json'}")
    lab.until_ready(store, "b")
    assert (elsewhere / "rows.parquet").exists(), "it came before the site was ready"
    gate.touch()
    first, second = founder.result(), joiner.result()
    assert first["hash"] == second["hash"]
    assert sorted_rows(first["seen"] + second["seen"]) and second["seen"]
    (fetched,) = lab.events("fetched")
    assert fetched.site == "b" and fetched["file"] == "rows.parquet"
    (joined,) = lab.events("joined", of=joiner)
    assert joined["causes"]["data"] > 0
