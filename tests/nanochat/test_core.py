"""CORE on a small bundle with a task of each kind: what is asked, what counts as right, what it comes to."""

import json
from types import SimpleNamespace

import pytest
import torch

from nanochat import dataset, eval, tok_train, train, verb
from nanochat.core import CORE_TASKS, evaluate_core, read_bundle
from nanochat.core.prompts import Scored, common_prefix, cropped, prompts_of
from nanochat.core.scoring import is_right
from nanochat.core.tasks import LanguageModeling, MultipleChoice, Schema, Task
from nanochat.model import GPTConfig, build_model


class Characters:
    """A whole tokenizer: a token for each character, bos is 0."""

    bos_id = 0

    def encode(self, text):
        return [ord(c) for c in text]


class Follows(torch.nn.Module):
    """A model to which, after each character, the one in `table` is the likeliest, and all others equal."""

    def __init__(self, table, sequence_length=64):
        super().__init__()
        self.config = SimpleNamespace(sequence_length=sequence_length)
        self.head = torch.nn.Linear(1, 1)
        self.table = {ord(one): ord(two) for one, two in table.items()}
        self.seen = []

    def logits(self, ids):
        self.seen.append(ids.tolist())
        z = torch.zeros(*ids.shape, 128)
        for b, row in enumerate(ids.tolist()):
            for t, token in enumerate(row):
                z[b, t, self.table.get(token, 127)] = 5.0
        return z


def text_of(ids):
    return "".join(map(chr, ids[1:]))


CHOICE = MultipleChoice("one plus two is", ("three", "four"), 0)
SCHEMA = Schema(("the cat", "the dog"), "barks", 1)
WORDS = LanguageModeling("a b c ", "d e")


def test_a_multiple_choice_scores_what_follows_the_shared_beginning():
    first, second = prompts_of(CHOICE, [MultipleChoice("q", ("x", "y"), 1)], " ", Characters())
    assert text_of(first.ids) == "q y\n\none plus two is three"
    assert text_of(second.ids) == "q y\n\none plus two is four"
    assert first.ids[0] == second.ids[0] == Characters.bos_id
    assert "".join(map(chr, first.ids[first.start : first.end])) == "three"
    assert "".join(map(chr, second.ids[second.start : second.end])) == "four"


def test_a_schema_scores_the_shared_end():
    scored = prompts_of(SCHEMA, [Schema(("x", "y"), "z", 0)], " ", Characters())
    assert [text_of(one.ids) for one in scored] == ["x z\n\nthe cat barks", "x z\n\nthe dog barks"]
    assert ["".join(map(chr, one.ids[one.start : one.end])) for one in scored] == [" barks", " barks"]


def test_language_modelling_scores_what_the_text_without_it_lacks():
    [one] = prompts_of(WORDS, [LanguageModeling("x ", "y")], " ", Characters())
    assert text_of(one.ids) == "x y\n\na b c d e"
    assert "".join(map(chr, one.ids[one.start : one.end])) == " d e"


def test_a_common_prefix_ends_at_the_first_difference_or_with_the_shortest():
    assert common_prefix([[1, 2, 3], [1, 2, 4]]) == 2
    assert common_prefix([[1, 2], [1, 2, 4]]) == 2
    assert common_prefix([[1], [2]]) == 0


def test_what_is_too_long_is_cropped_from_the_left():
    assert cropped(Scored([0, 1, 2, 3, 4, 5], 4, 6), 3) == Scored([3, 4, 5], 1, 3)
    assert cropped(Scored([0, 1, 2, 3], 1, 4), 8) == Scored([0, 1, 2, 3], 1, 4)
    assert cropped(Scored([0, 1, 2, 3, 4, 5], 1, 6), 3) == Scored([3, 4, 5], 1, 3)


def task(*items, shots=0, baseline=0.25):
    return Task(label="t", shots=shots, delimiter=" ", baseline=baseline, items=items)


def test_the_choice_with_the_lowest_mean_loss_is_taken_however_long():
    item = MultipleChoice("q", ("bcb", "bd"), 0)  # after b comes c, after c comes b
    knows = Follows({" ": "b", "b": "c", "c": "b"})
    assert is_right(knows, Characters(), task(item), 0)
    assert not is_right(knows, Characters(), task(MultipleChoice("q", ("bcb", "bd"), 1)), 0)
    assert is_right(
        Follows({" ": "b", "b": "d"}), Characters(), task(MultipleChoice("q", ("bcb", "bd"), 1)), 0
    )


def test_the_context_after_which_the_end_is_likeliest_is_taken():
    item = Schema(("x", "y"), "z", 1)
    assert prompts_of(item, [], "", Characters())[0].ids == [0, ord("x"), ord("z")]
    after = Task(label="t", shots=0, delimiter="", baseline=0.5, items=(item,))
    assert is_right(Follows({"y": "z"}), Characters(), after, 0)
    assert not is_right(Follows({"x": "z"}), Characters(), after, 0)


def test_in_language_modelling_every_token_must_be_the_likeliest():
    item = LanguageModeling("a", "bc")
    assert is_right(Follows({"a": " ", " ": "b", "b": "c"}), Characters(), task(item), 0)
    assert not is_right(Follows({"a": " ", " ": "b", "b": "d"}), Characters(), task(item), 0)
    assert not is_right(Follows({" ": "b", "b": "c"}), Characters(), task(item), 0)


def test_shots_are_other_items_always_the_same_and_long_prompts_keep_their_end():
    items = [LanguageModeling(f"{i}", "b") for i in range(6)]
    model = Follows({})
    for _ in range(2):
        is_right(model, Characters(), task(*items, shots=3), 2)
    one, two = (text_of(seen[0]) for seen in model.seen)
    assert one == two and one.endswith("\n\n2 b") and one.count("\n\n") == 3
    shots = [part.split(" ")[0] for part in one.split("\n\n")[:-1]]
    assert len(set(shots)) == 3 and "2" not in shots
    short = Follows({}, sequence_length=5)
    is_right(short, Characters(), task(*items, shots=3), 2)
    assert short.seen[0][0] == [ord(c) for c in "\n\n2 b"]


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


def test_the_mean_is_called_core_when_all_22_tasks_are_there():
    tasks = [
        Task(label=label, shots=0, delimiter=" ", baseline=0.0, items=(LanguageModeling("a", "b"),))
        for label in sorted(CORE_TASKS)
    ]
    result = evaluate_core(Follows({"a": " ", " ": "b"}), Characters(), tasks)
    assert len(CORE_TASKS) == 22 and (result.name, result.mean, result.missing) == ("CORE", 1.0, [])


def test_a_real_models_choice_is_that_of_its_losses_one_sequence_at_a_time():
    config = GPTConfig(n_layer=1, n_embd=16, n_head=2, n_kv_head=2, vocab_size=128, sequence_length=32)
    model = build_model(config, seed=3)
    with torch.no_grad():
        model.head.weight.normal_(0, 1, generator=torch.Generator().manual_seed(1))
    found = []
    for i in range(8):
        item = MultipleChoice(f"question {i}:", ("yes", "no way", "perhaps it is"), i % 3)
        losses = []
        for one in prompts_of(item, [], " ", Characters()):
            ids = torch.tensor([one.ids])
            each = model(ids[:, :-1], ids[:, 1:], reduction="none")
            losses.append(each[one.start - 1 :].mean().item())
        expected = losses.index(min(losses)) == item.gold
        found.append(expected)
        assert is_right(model, Characters(), task(item), 0) is expected
    assert True in found and False in found


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
    ],
)
def test_a_bundle_that_is_wrong_is_refused_with_its_place(bundle, file, contents, message):
    if contents is None:
        (bundle / file).unlink()
    else:
        (bundle / file).write_text(contents)
    with pytest.raises(ValueError, match=message):
        read_bundle(bundle)


def test_the_verbs_evaluate_it(bundle, tmp_path, capsys):
    root = tmp_path / "root"
    dataset.prepare_stdlib(root, max_bytes=200_000, seed=1)
    tok_train.train_tokenizer_to(root, vocab_size=400, max_chars=50_000, doc_cap=4_000)
    shape = [
        "--depth",
        "2",
        "--width",
        "32",
        "--heads",
        "2",
        "--sequence-length",
        "32",
        "--eval-sequences",
        "4",
    ]
    arguments = [*shape, "--device-batch-size", "4", "--device", "cpu", "--num-iterations", "2"]
    core = ["--core", str(bundle), "--core-every", "1", "--core-max-per-task", "2"]
    assert verb.run(train.main, ["--root", str(root), *arguments, *core]) == 0
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
