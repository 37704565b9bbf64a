import pytest
import torch

from curtail_dist.state.open_work import drop_open, keep_open, take_open

LOCAL = {"w": torch.arange(50.0), "b": torch.ones(3).bfloat16()}
WORK = {"site": "a", "tokens": 512, "steps": 3, "rows": [[0, 4]], "open": [[4, 17]], "seconds": 1.25}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "open" / "a"
    keep_open(path, LOCAL, base_hash="f" * 64, work=WORK)
    return path


def test_what_was_kept_comes_back_as_often_as_it_is_asked_for(path):
    for _ in range(2):
        found = take_open(path)
        assert found is not None
        local, base_hash, work = found
        assert local.keys() == LOCAL.keys()
        assert all(torch.equal(local[name], value) for name, value in LOCAL.items())
        assert (base_hash, work) == ("f" * 64, WORK)


def test_what_was_dropped_is_gone(path):
    drop_open(path)
    drop_open(path)
    assert take_open(path) is None
    assert list(path.parent.iterdir()) == []


def test_a_second_round_takes_the_place_of_the_first(path):
    keep_open(path, {"w": torch.ones(5)}, base_hash="0" * 64, work={})
    found = take_open(path)
    assert found is not None
    assert found[1:] == ("0" * 64, {})
    assert [one.name for one in path.parent.iterdir()] == ["a"]


def test_nothing_broken_is_taken(path, caplog):
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x41]) + whole[place + 1 :])
        assert take_open(path) is None
        path.write_bytes(whole[:place])
        assert take_open(path) is None
    assert "is passed over" in caplog.text


def test_a_write_that_fails_leaves_the_round_before(path):
    with pytest.raises(TypeError):
        keep_open(path, LOCAL, base_hash="0" * 64, work={"odd": object()})
    with pytest.raises(ValueError, match="a tensor has type"):
        keep_open(path, {"w": torch.ones(5, dtype=torch.complex64)}, base_hash="0" * 64, work={})
    found = take_open(path)
    assert found is not None
    assert found[1] == "f" * 64
    assert [one.name for one in path.parent.iterdir()] == ["a"]


def test_what_a_process_left_half_written_goes_and_nothing_else(path):
    others = (".a.1.0123abcd", ".b.0123abcd", "b")
    for name in (".a.0123abcd", ".a.89efcafe", *others):
        (path.parent / name).write_text("half")
    keep_open(path, LOCAL, base_hash="0" * 64, work={})
    assert sorted(one.name for one in path.parent.iterdir()) == sorted((path.name, *others))
