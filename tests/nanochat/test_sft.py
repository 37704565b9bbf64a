"""A model that goes on with a mixture: it learns to answer, and is evaluated by its answers."""

import json
import math
import shutil

import pytest
import torch
from safetensors.torch import load_file

from nanochat import chat, checkpoint, dataset, eval, sft, tok_train, train, verb
from nanochat.chat_eval import answered, chosen, evaluate_chat
from nanochat.examples import Choice, Conversation, Document, Open
from nanochat.model import build_model
from nanochat.saved import load_newest

TINY = ["--device-batch-size", "4", "--eval-sequences", "8", "--device", "cpu"]
COLOURS = {"sky": "blue", "grass": "green", "snow": "white", "coal": "black"}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A pre-trained root, with a mixture of questions beside it."""
    root = tmp_path_factory.mktemp("root")
    dataset.prepare_stdlib(root, max_bytes=200_000, seed=1)
    tok_train.train_tokenizer_to(root, vocab_size=400, max_chars=50_000, doc_cap=4_000)
    shape = ["--depth", "2", "--width", "64", "--heads", "2", "--sequence-length", "64"]
    assert verb.run(train.main, ["--root", str(root), *TINY, *shape, "--num-iterations", "2"]) == 0
    questions = [{"question": f"Colour of {thing}?", "answer": colour} for thing, colour in COLOURS.items()]
    (root / "colours.jsonl").write_text("\n".join(map(json.dumps, questions)))
    (root / "letters.jsonl").write_text(json.dumps({"question": "?", "choices": ["no", "yes"], "gold": 1}))
    (root / "mixture.yaml").write_text(
        "train: [{file: colours.jsonl, times: 4}, {file: letters.jsonl}]\nval: [{file: colours.jsonl}]\n"
    )
    return root


@pytest.fixture(scope="module")
def tuned(root):
    """Mid-trained until it knows the colours, then fine-tuned a little."""
    arguments = ["--root", str(root), "--mixture", str(root / "mixture.yaml"), *TINY]
    middle = ["--stage", "mid", "--num-iterations", "60", "--eval-every", "30", "--lr-factor", "15"]
    assert verb.run(sft.main, [*arguments, *middle]) == 0
    assert verb.run(sft.main, [*arguments, "--num-iterations", "4", "--save-every", "2"]) == 0
    return load_newest(root / "sft")


def log_of(directory):
    return [json.loads(line) for line in (directory / "log.jsonl").read_text().splitlines()]


def test_it_learns_what_the_assistant_says(root, tuned):
    bpb = [record["val_bpb"] for record in log_of(root / "mid") if "val_bpb" in record]
    assert len(bpb) == 3 and bpb[-1] < 0.2 < 1.0 < bpb[0]
    score = evaluate_chat(
        tuned.model, tuned.tokenizer, [Open(f"Colour of {k}?", v) for k, v in COLOURS.items()]
    )
    assert (score.asked, score.right, score.by_chance) == (4, 4, 0.0)
    wrong = [Open(f"Colour of {thing}?", "red") for thing in COLOURS]
    assert evaluate_chat(tuned.model, tuned.tokenizer, wrong).accuracy == 0


def test_fine_tuning_goes_on_from_mid_training(root, tuned):
    assert tuned.path == root / "sft" / "checkpoints" / "step-0000004.safetensors"
    middle = load_newest(root / "mid").model.state_dict()
    apart = max((tuned.model.state_dict()[name] - middle[name]).abs().max().item() for name in middle)
    assert 0 < apart < 0.5, "it moved, and did not begin anew"


def test_chat_says_what_was_learnt(root, tuned, capsys):
    arguments = [str(root / "sft"), "-p", "Colour of snow?", "--temperature", "0", "--device", "cpu"]
    assert verb.run(chat.main, arguments) == 0
    assert capsys.readouterr().out == "white\n"


def test_a_run_that_was_interrupted_ends_with_the_same_bytes(root, tuned):
    last = root / "sft" / "checkpoints" / "step-0000004.safetensors"
    whole = last.read_bytes()
    last.unlink()
    arguments = ["--root", str(root), "--mixture", str(root / "mixture.yaml"), *TINY, "--num-iterations", "4"]
    assert verb.run(sft.main, [*arguments, "--resume"]) == 0
    assert last.read_bytes() == whole


def test_the_rates_are_the_stages(root, tuned):
    assert [record["lr_factor"] for record in log_of(root / "sft") if "loss" in record] == [0.25]
    moved = load_file(root / "sft" / "checkpoints" / "step-0000002.safetensors")
    assert any(name.startswith("optimizer.") for name in moved)


@pytest.mark.parametrize(("times", "epochs"), [(7, 1), (8, 3)])
def test_passes_are_whole(root, tmp_path, capsys, times, epochs):
    (tmp_path / "mixture.yaml").write_text(f"train: [{{file: {root}/colours.jsonl, times: {times}}}]\n")
    arguments = ["--root", str(tmp_path), "--from", str(root), "--mixture", str(tmp_path / "mixture.yaml")]
    assert verb.run(sft.main, [*arguments, *TINY, "--epochs", str(epochs)]) == 0
    examples, last = 4 * times, checkpoint.newest(tmp_path / "sft")
    assert last is not None
    facts = checkpoint.facts_of(last)
    assert facts["place"][0] >= epochs * examples, "each example was trained on, so many times"
    assert f"{examples} examples, {facts['step']} steps" in capsys.readouterr().out
    assert (tmp_path / "sft" / "tokenizer" / "tokenizer.json").exists()


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["too long " * 30], "that count a target in a window of 64 tokens is 0; it must be 1 or more"),
        (["fits", "too long " * 30], None),
    ],
)
@pytest.mark.parametrize("alone", [False, True])
def test_examples_that_teach_nothing_are_told_and_none_else_is_refused(
    root, tmp_path, capsys, texts, message, alone
):
    talks = [[{"role": "user", "content": text}, {"role": "assistant", "content": "yes"}] for text in texts]
    if alone:
        talks[-1].pop()  # nobody answers
    (tmp_path / "talk.jsonl").write_text("\n".join(json.dumps({"messages": talk}) for talk in talks))
    (tmp_path / "mixture.yaml").write_text("train: [{file: talk.jsonl, times: 40}]\n")
    given = ["--root", str(tmp_path), "--from", str(root), "--mixture", str(tmp_path / "mixture.yaml")]
    code = verb.run(sft.main, [*given, *TINY, "--num-iterations", "1"])
    said = capsys.readouterr()
    if message is None:
        assert code == 0
        assert "40 of 80 examples count no target in a window of 64 tokens\n" in said.out
    else:
        assert code == 2 and message in said.err and said.err.count("\n") == 1
        assert not (tmp_path / "sft").exists()


def test_a_checkpoint_is_evaluated_with_the_tokenizer_beside_it(root, tuned, tmp_path, capsys):
    (tmp_path / "data").symlink_to(root / "data")
    given = ["--root", str(tmp_path), "--sequences", "2", "--device", "cpu", "--from", str(root / "sft")]
    for step in (2, 4):
        path = root / "sft" / "checkpoints" / f"step-{step:07d}.safetensors"
        assert verb.run(eval.main, [*given, "--checkpoint", str(path)]) == 0
        assert capsys.readouterr().out.startswith(f"{path}: val bpb ")
    assert verb.run(eval.main, given) == 0
    assert capsys.readouterr().out.startswith(f"{path}: val bpb ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--num-iterations", "0"], "--num-iterations is 0; it must be above 0"),
        (["--num-iterations", "1", "--lr-factor", "0"], "--lr-factor is 0.0; it must be above 0"),
        (["--num-iterations", "1", "--from", "/nowhere"], "the run directory is '/nowhere'"),
        (["--num-iterations", "1", "--total-batch-size", "100"], "a multiple of 256"),
    ],
)
def test_wrong_input_is_one_line(root, capsys, arguments, message):
    given = ["--root", str(root), "--mixture", str(root / "mixture.yaml"), *TINY, "--resume", *arguments]
    assert verb.run(sft.main, given) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_a_choice_is_the_likeliest_of_its_letters(tuned):
    question = Choice("Which?", ("one", "two", "three"), 0)
    model, tokenizer = tuned.model, tuned.tokenizer
    prompt = tokenizer.encode_special("<|bos|><|user_start|>")
    prompt += tokenizer.encode(question.messages[0].content)
    prompt += tokenizer.encode_special("<|user_end|><|assistant_start|>")
    with torch.no_grad():
        z = model.logits(torch.tensor([prompt]))[0, -1]
    by_letter = [z[tokenizer.encode(letter)[0]].item() for letter in "ABC"]
    picked = by_letter.index(max(by_letter))
    assert chosen(model, tokenizer, question) == picked
    scores = [
        evaluate_chat(model, tokenizer, [Choice("Which?", question.choices, gold)]).right for gold in range(3)
    ]
    assert scores == [gold == picked for gold in range(3)]
    score = evaluate_chat(model, tokenizer, [question, Choice("?", ("a", "b"), 0), Document("x")])
    assert score.asked == 2 and score.by_chance == pytest.approx((1 / 3 + 1 / 2) / 2)


def test_a_model_that_diverged_chooses_nothing(tuned):
    model = build_model(tuned.model.config)
    with torch.no_grad():
        model.head.weight.fill_(math.nan)
    assert chosen(model, tuned.tokenizer, Choice("Which?", ("one", "two"), 0)) is None
    assert evaluate_chat(model, tuned.tokenizer, [Choice("Which?", ("one", "two"), 0)]).right == 0


def test_tuning_that_is_refused_leaves_the_tokenizer_of_the_run_that_is_there(root, tuned, tmp_path, capsys):
    other = shutil.copytree(
        root, tmp_path / "other", ignore=shutil.ignore_patterns("mid", "sft", "checkpoints")
    )
    tok_train.train_tokenizer_to(other, vocab_size=410, max_chars=50_000, doc_cap=4_000)
    shape = ["--depth", "2", "--width", "64", "--heads", "2", "--sequence-length", "64"]
    assert verb.run(train.main, ["--root", str(other), *TINY, *shape, "--num-iterations", "1"]) == 0
    given = ["--root", str(root), "--mixture", str(root / "mixture.yaml"), *TINY, "--num-iterations", "8"]
    assert verb.run(sft.main, [*given, "--from", str(other), "--resume"]) == 2
    assert "ask for what it was trained with" in capsys.readouterr().err
    assert load_newest(root / "sft").tokenizer.hash == tuned.tokenizer.hash


def test_what_asks_nothing_or_has_no_room_is_refused(tuned):
    with pytest.raises(ValueError, match="the number of questions is 0"):
        evaluate_chat(tuned.model, tuned.tokenizer, [Conversation(()), Document("x")])
    with pytest.raises(ValueError, match="the tokens of a question"):
        answered(tuned.model, tuned.tokenizer, Open("x " * 2_000, "y"), 5)


def test_a_reply_ends_at_its_end(tuned):
    assert answered(tuned.model, tuned.tokenizer, Open("Colour of grass?", ""), 200) == "green"
