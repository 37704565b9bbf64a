"""Examples of conversations as they are read, and what counts as the right answer."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nanochat.conversation import Message
from nanochat.examples import Choice, Conversation, Document, Open, read_examples

TALK = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]


def write(path, *rows):
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    return path


def test_every_kind_is_read(tmp_path):
    path = write(
        tmp_path / "all.jsonl",
        {"messages": TALK},
        TALK,
        {"question": "2 + 2?", "choices": ["3", "4"], "gold": 1},
        {"question": "2 + 2?", "answer": "four"},
        {"text": "a document"},
    )
    said = Conversation((Message("user", "hi"), Message("assistant", "hello")))
    assert list(read_examples(path)) == [
        said, said, Choice("2 + 2?", ("3", "4"), 1), Open("2 + 2?", "four"), Document("a document"),
    ]  # fmt: skip


def test_parquet_holds_the_same_as_columns(tmp_path):
    path = tmp_path / "talk.parquet"
    pq.write_table(pa.table({"messages": [TALK, TALK]}), path)
    assert list(read_examples(path)) == [Conversation(tuple(Message(**one) for one in TALK))] * 2


def test_a_choice_is_asked_with_letters_and_answered_with_one():
    asked, answered = Choice("Which?", ("red", "green", "blue"), 2).messages
    assert asked.role == "user" and asked.content.startswith("Which?\n\nA. red\nB. green\nC. blue\n")
    assert answered == Message("assistant", "C")


@pytest.mark.parametrize(
    ("answer", "reply", "right"),
    [
        ("#### 1,234", "so it is\n#### 1234", True),
        ("#### 1234", "1234", True),
        ("12 + 3 = 15 #### 15", "#### 16", False),
        ("Paris", " paris. ", True),
        ("Paris", "Paris, France", False),
        ("yes, it is", "yes it is", False),
    ],
)
def test_what_a_reply_comes_to_is_graded(answer, reply, right):
    assert Open("?", answer).accepts(reply) is right


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"messages": []}, "example 2: messages is empty"),
        ({"messages": [{"role": "user"}]}, "example 2: content is None"),
        ({"question": "?", "choices": ["a"], "gold": 0}, r"example 2: choices is \['a'\]"),
        ({"question": "?", "choices": ["a", "b"], "gold": 2}, "example 2: gold is 2, of 2 choices"),
        ({"question": "?", "choices": ["a", "b"]}, "example 2: it lacks 'gold'"),
        ({"question": "?"}, "example 2: answer is None"),
        (7, "example 2: it is int"),
    ],
)
def test_what_is_no_example_is_named_with_its_place(tmp_path, row, message):
    path = write(tmp_path / "bad.jsonl", TALK, row)
    with pytest.raises(ValueError, match=f"bad.jsonl, {message}"):
        list(read_examples(path))


def test_a_file_that_is_not_there_or_no_json_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"none\.jsonl is unreadable"):
        list(read_examples(tmp_path / "none.jsonl"))
    (tmp_path / "bad.jsonl").write_text("{")
    with pytest.raises(ValueError, match=r"bad\.jsonl, example 1: "):
        list(read_examples(tmp_path / "bad.jsonl"))
    (tmp_path / "bad.jsonl").write_text("[" * 100_000)
    with pytest.raises(ValueError, match=r"bad\.jsonl, example 1: maximum recursion depth"):
        list(read_examples(tmp_path / "bad.jsonl"))
    (tmp_path / "bad.parquet").write_text("{")
    with pytest.raises(ValueError, match=r"bad\.parquet, example 1: "):
        list(read_examples(tmp_path / "bad.parquet"))
