"""A small CORE bundle with a task of each kind: as it is read, as verbs evaluate it, and a wrong one."""

import io
import json
import shutil

import pytest
from following import Characters, Follows

from nanochat import dataset, eval, tok_train, train, verb
from nanochat.core import evaluate_core, read_bundle
from nanochat.core.tasks import LanguageModeling


@pytest.fixture
def bundle(tmp_path):
    """A task of each kind; their names are CORE's, so that three of 22 are there."""
    kinds = {
        "copa": (
            "multiple_choice",
            [{"query": f"q{i}", "choices": ["b", "c"], "gold": i % 2} for i in range(4)],
        ),
        "winograd": ("schema", [{"context_options": ["x", "y"], "continuation": "z", "gold": 1}] * 3),
        "squad": ("language_modeling", [{"context": "a", "continuation": "b"}] * 5),
    }
    directory = tmp_path / "bundle"
    (directory / "eval_data" / "sub").mkdir(parents=True)
    tasks = []
    for label, (kind, items) in kinds.items():
        lines = "\n".join(json.dumps(item) for item in items) + "\n"
        (directory / "eval_data" / "sub" / f"{label}.jsonl").write_text(lines)
        entry = {
            "label": label,
            "dataset_uri": f"sub/{label}.jsonl",
            "num_fewshot": [0],
            "icl_task_type": kind,
        }
        tasks.append(entry)
    tasks[2]["continuation_delimiter"] = "="
    (directory / "core.yaml").write_text(json.dumps({"icl_tasks": tasks}))
    rows = "Eval Task,Category,Random baseline\ncopa,x,50\nwinograd,x,50.0\nsquad,x,0\n"
    (directory / "eval_meta_data.csv").write_text(rows)
    return directory


def test_a_bundle_is_read_and_scored(bundle):
    tasks = read_bundle(bundle)
    assert [(task.label, len(task.items), task.baseline) for task in tasks] == [
        ("copa", 4, 0.5), ("winograd", 3, 0.5), ("squad", 5, 0.0),
    ]  # fmt: skip
    told = []
    model = Follows({" ": "b", "a": "=", "=": "b"})
    result = evaluate_core(model, Characters(), tasks, after_task=told.append)
    assert [(score.accuracy, score.centred) for score in result.scores] == [
        (0.5, 0.0),
        (0.0, -1.0),
        (1.0, 1.0),
    ]
    assert told == list(result.scores) and result.mean == 0.0
    assert result.name == "mean of 3 of 22 tasks" and len(result.missing) == 19
    assert [score.asked for score in evaluate_core(model, Characters(), tasks, max_per_task=2).scores] == [
        2
    ] * 3


def test_a_text_may_hold_any_kind_of_line_end(bundle):
    odd = "one\u2028two\x85three\x0cfour"
    line = json.dumps({"context": odd, "continuation": "b"}, ensure_ascii=False)
    (bundle / "eval_data" / "sub" / "squad.jsonl").write_text(f"{line}\n", encoding="utf-8")
    assert read_bundle(bundle)[2].items == (LanguageModeling(odd, "b"),)


@pytest.mark.parametrize(
    ("file", "contents", "message"),
    [
        ("core.yaml", None, "core.yaml is unreadable"),
        ("core.yaml", "icl_tasks: []", "icl_tasks of .* it must be a list"),
        ("core.yaml", "icl_tasks: [{label: copa}]", "it must be a mapping with label, dataset_uri"),
        ("eval_meta_data.csv", "Eval Task,Random baseline\ncopa,50\n", "winograd of .*csv is 'missing'"),
        ("eval_meta_data.csv", "Eval Task,Random baseline\ncopa,100\n", r"it must be in \[0, 100\)"),
        ("eval_meta_data.csv", "Task,Baseline\ncopa,50\n", "it must have Eval Task and Random baseline"),
        ("eval_data/sub/copa.jsonl", "", "the items of copa is 0; it must be more than its 0 shots"),
        ("eval_data/sub/copa.jsonl", '\n{"query": "q"}\n', "copa.jsonl, line 2 lacks or garbles 'choices'"),
        (
            "eval_data/sub/copa.jsonl",
            '{"query": "q", "choices": ["a", "b"], "gold": 2}',
            "gold 2, which must be",
        ),
        (
            "eval_data/sub/squad.jsonl",
            '{"context": 1, "continuation": "b"}',
            "line 1 lacks or garbles 1, which",
        ),
        ("eval_data/sub/squad.jsonl", None, "squad.jsonl is unreadable"),
        ("eval_data/sub/squad.jsonl", "[" * 100_000, "line 1 lacks or garbles maximum recursion depth"),
        ("core.yaml", "[" * 10_000, "core.yaml is unreadable .maximum recursion depth"),
    ],
)
def test_a_bundle_that_is_wrong_is_refused_with_its_place(bundle, file, contents, message):
    if contents is None:
        (bundle / file).unlink()
    else:
        (bundle / file).write_text(contents)
    with pytest.raises(ValueError, match=message):
        read_bundle(bundle)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    dataset.prepare_stdlib(root, max_bytes=200_000, seed=1)
    tok_train.train_tokenizer_to(root, vocab_size=400, max_chars=50_000, doc_cap=4_000)
    return root


SHAPE = ["--depth", "2", "--width", "32", "--heads", "2", "--sequence-length", "32", "--eval-sequences", "4"]
STEPS = ["--device-batch-size", "4", "--device", "cpu", "--num-iterations", "2"]


@pytest.fixture
def root(prepared, tmp_path):
    return shutil.copytree(prepared, tmp_path / "root")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("dataset_uri", 5, "dataset_uri of task .* of .*yaml is 5; it must be text"),
        ("dataset_uri", None, "dataset_uri of task .* of .*yaml is None; it must be text"),
        ("label", ["copa"], r"label of task .* of .*yaml is \['copa'\]; it must be text"),
        ("icl_task_type", ["schema"], r"icl_task_type of task .* of .*yaml is \['schema'\]; it must be text"),
        ("icl_task_type", "x" * 3, "icl_task_type of copa is 'xxx'; it must be one of multiple_choice"),
        (
            "continuation_delimiter",
            None,
            "continuation_delimiter of task .* of .*yaml is None; it must be text",
        ),
        ("continuation_delimiter", 5, "continuation_delimiter of task .* of .*yaml is 5; it must be text"),
        ("label", "winograd", "winograd in .*yaml is 'listed again'; it must be once"),
        ("num_fewshot", [], r"num_fewshot of copa is \[\]; it must be a whole number"),
        ("dataset_uri", "sub", "sub is unreadable"),
        ("dataset_uri", "sub/\0", "is unreadable"),
    ],
)
def test_a_task_that_is_none_is_refused_in_one_line(bundle, key, value, message):
    raw = json.loads((bundle / "core.yaml").read_text())
    raw["icl_tasks"][0][key] = value
    if key == "label":  # the other one's items will do
        raw["icl_tasks"][0]["icl_task_type"] = "multiple_choice"
    (bundle / "core.yaml").write_text(json.dumps(raw))
    with pytest.raises(ValueError, match=message) as caught:
        read_bundle(bundle)
    assert "\n" not in str(caught.value)


def test_the_verbs_evaluate_it(bundle, root, capsys):
    core = ["--core", str(bundle), "--core-every", "1", "--core-max-per-task", "2"]
    assert verb.run(train.main, ["--root", str(root), *SHAPE, *STEPS, *core]) == 0
    assert "mean of 3 of 22 tasks" in capsys.readouterr().out
    (root / "q.jsonl").write_text(json.dumps({"question": "?", "choices": ["a", "b"], "gold": 1}))
    asked = ["--core", str(bundle), "--chat", str(root / "q.jsonl"), "--sequences", "4", "--device", "cpu"]
    out = root / "figures.json"
    assert verb.run(eval.main, ["--root", str(root), *asked, "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "copa: 0." in said and "mean of 3 of 22 tasks: " in said and "by chance 0.5000" in said
    figures = json.loads(out.read_text())
    assert figures["val_bpb"] > 1 and set(figures["core"]["tasks"]) == {"copa", "winograd", "squad"}
    assert figures["chat"][str(root / "q.jsonl")]["asked"] == 1


class Watching(io.StringIO):
    """Standard output that notes, of each line, what a file held when it was said."""

    def __init__(self, path):
        super().__init__()
        self.path = path
        self.seen = {}

    def write(self, text):
        held = json.loads(self.path.read_text()) if self.path.exists() else {}
        self.seen[text.partition(":")[0]] = held
        return super().write(text)


def test_each_figure_is_kept_as_it_comes(bundle, root, monkeypatch):
    assert verb.run(train.main, ["--root", str(root), *SHAPE, *STEPS]) == 0
    (root / "q.jsonl").write_text(json.dumps({"question": "?", "choices": ["a", "b"], "gold": 1}))
    out = root / "figures.json"
    watching = Watching(out)
    monkeypatch.setattr("sys.stdout", watching)
    asked = ["--core", str(bundle), "--chat", str(root / "q.jsonl"), "--sequences", "4", "--device", "cpu"]
    assert verb.run(eval.main, ["--root", str(root), *asked, "--out", str(out)]) == 0
    assert set(watching.seen["copa"]) == {"model", "val_bpb", "core"}
    assert set(watching.seen["squad"]["core"]["tasks"]) == {"copa", "winograd", "squad"}
    assert watching.seen[str(root / "q.jsonl")]["core"]["name"] == "mean of 3 of 22 tasks"
    assert "chat" in json.loads(out.read_text())


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ({"question": "?"}, "example 1: answer is None"),
        ({"text": "x"}, "q.jsonl: the number of questions is 0"),
        ({"question": "x " * 3_000, "answer": "y"}, "q.jsonl: the tokens of a question is"),
        (None, "core.yaml is unreadable"),
    ],
)
def test_what_cannot_be_evaluated_is_told_before_anything_is(bundle, root, capsys, question, message):
    assert verb.run(train.main, ["--root", str(root), *SHAPE, *STEPS]) == 0
    (root / "q.jsonl").write_text(json.dumps(question or {"question": "?", "answer": "!"}))
    if question is None:
        (bundle / "core.yaml").unlink()
    capsys.readouterr()
    asked = ["--core", str(bundle), "--chat", str(root / "q.jsonl"), "--sequences", "4", "--device", "cpu"]
    out = root / "figures.json"
    assert verb.run(eval.main, ["--root", str(root), *asked, "--out", str(out)]) == 2
    said = capsys.readouterr()
    assert message in said.err and said.err.count("\n") == 1
    assert said.out == "" and not out.exists()
