"""What `--check` says of the run file's `train` section."""

import pytest
import yaml
from curtail_launch import train
from curtail_launch.demo.script import Wishes, run_tree, write_run_file
from curtail_launch.settings import read_recipe

from curtail_dist.config import RunConfig

PASS = 16 * 128
"""Tokens of one pass in the demo's run file."""


@pytest.fixture
def tree(material, tmp_path):
    def make(ranks=1, **options):
        wishes = Wishes(out=tmp_path / "out", day="short", minutes=0.2, sites=1)
        made = run_tree(wishes, material, etcd="127.0.0.1:1", clock="127.0.0.1:2")
        made["sites"]["california"]["provisioner"] = {"ranks": ranks}
        made["train"] = {**made["train"], **options}
        return made

    return make


def checked(tree, tmp_path, capsys):
    """Exit code and error of `--check`."""
    code = train.main(["--check", "--config", str(write_run_file(tree, tmp_path))])
    return code, capsys.readouterr().err


def test_a_run_file_without_the_keys_means_one_pass_a_step(tree):
    recipe = read_recipe(RunConfig.from_mapping(tree()))
    assert recipe.passes(1) == recipe.passes(8) == 1
    assert recipe.options.compile is None
    assert recipe.options.sharded
    assert recipe.options.sample_every == 0


@pytest.mark.parametrize(("ranks", "passes"), [(1, 8), (2, 4), (8, 1)])
def test_the_passes_of_a_step_follow_from_its_tokens_and_the_ranks(tree, ranks, passes):
    recipe = read_recipe(RunConfig.from_mapping(tree(ranks, total_batch_size=8 * PASS)))
    assert recipe.passes(ranks) == passes


def test_the_learning_rates_follow_the_tokens_of_a_step_unless_they_say_so_themselves(tree):
    def batch_tokens(**options):
        return read_recipe(RunConfig.from_mapping(tree(**options))).optimizer.batch_tokens

    assert batch_tokens() == 2**19
    assert batch_tokens(total_batch_size=4 * PASS) == 4 * PASS
    assert batch_tokens(total_batch_size=4 * PASS, optimizer={"batch_tokens": 2**16}) == 2**16


@pytest.mark.parametrize(
    ("ranks", "options", "said"),
    [
        (1, {"total_batch_size": 1000}, "train.total_batch_size is 1000; at a site whose ranks are 1"),
        (3, {"total_batch_size": 4 * PASS}, f"whose ranks are 3 it must be a multiple of {3 * PASS}"),
        (1, {"total_batch_size": 0}, "train.total_batch_size is 0"),
        (1, {"total_batch_size": "many"}, "train.total_batch_size"),
        (1, {"compile": "perhaps"}, "train.compile"),
        (1, {"sharded": 1}, "train.sharded"),
        (1, {"sample_every": -1}, "train.sample_every is -1; it must be at least 0"),
        (1, {"sample_evry": 1}, "unknown key train.sample_evry; did you mean sample_every?"),
    ],
)
def test_check_finds_what_is_wrong(tree, tmp_path, capsys, ranks, options, said):
    code, error = checked(tree(ranks, **options), tmp_path, capsys)
    assert code == 2
    assert said in error
    assert error.count("\n") == 1


def test_check_takes_what_is_right(tree, tmp_path, capsys):
    options = {"total_batch_size": 2 * PASS, "compile": False, "sharded": False, "sample_every": 5}
    made = yaml.safe_load(yaml.safe_dump(tree(2, **options)))
    assert checked(made, tmp_path, capsys) == (0, "")
