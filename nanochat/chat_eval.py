"""How often a chat model is right: the letter of a question with choices, the words of an open one."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from nanochat.conversation import end_of_reply, render_for_reply
from nanochat.examples import Choice, Example, Open
from nanochat.generate import Sampling, generate
from nanochat.model import GPT
from nanochat.settings import require
from nanochat.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class ChatScore:
    """How a model did on a file of questions."""

    asked: int
    right: int
    by_chance: float
    """Share that drawing letters would have right; open questions: 0."""

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return self.right / self.asked


def evaluate_chat(
    model: GPT, tokenizer: Tokenizer, examples: Iterable[Example], *, most_tokens: int = 256
) -> ChatScore:
    """Ask every question of `examples`; conversations and documents are not questions and are left out.

    A question with choices is answered by the likeliest of its letters as the reply's first token. An open
    one is answered greedily, in at most `most_tokens` tokens.

    Raises:
        ValueError: As `check_questions`.
    """
    examples = list(examples)
    check_questions(model, tokenizer, examples)
    asked = right = 0
    chance = 0.0
    for example in examples:
        if isinstance(example, Choice):
            right += chosen(model, tokenizer, example) == example.gold
            chance += 1 / len(example.choices)
        elif isinstance(example, Open):
            right += example.accepts(answered(model, tokenizer, example, most_tokens))
        else:
            continue
        asked += 1
    return ChatScore(asked=asked, right=right, by_chance=chance / asked)


def check_questions(model: GPT, tokenizer: Tokenizer, examples: Iterable[Example]) -> None:
    """Find what is wrong with questions before the first of them is asked.

    Raises:
        ValueError: There is no question, a letter is more than one token, or a question leaves no room.
    """
    questions = [one for one in examples if isinstance(one, Choice | Open)]
    must = "at least 1: give a file that has question with choices, or question with answer"
    require(bool(questions), "the number of questions", 0, must)
    for question in questions:
        if isinstance(question, Choice):
            _letters(tokenizer, question)
        _prompt(model, tokenizer, question)


@torch.inference_mode()
def chosen(model: GPT, tokenizer: Tokenizer, question: Choice) -> int | None:
    """Index of the answer whose letter the model would say; None where its logits are no numbers."""
    letters = _letters(tokenizer, question)
    prompt = _prompt(model, tokenizer, question)
    device = model.head.weight.device
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
        z = model.logits(torch.tensor([prompt], device=device))[0, -1, letters]
    return None if z.isnan().any() else int(z.argmax())


def answered(model: GPT, tokenizer: Tokenizer, question: Open, most_tokens: int) -> str:
    """What the model replies to an open question."""
    prompt = _prompt(model, tokenizer, question)
    stop = end_of_reply(tokenizer)
    most = min(most_tokens, model.cos.size(0) - len(prompt))
    drawn = generate(model, prompt, most=most, sampling=Sampling(temperature=0), stop=stop)
    return tokenizer.decode([token for token in drawn if token not in stop])


def _letters(tokenizer: Tokenizer, question: Choice) -> list[int]:
    letters = [tokenizer.encode(letter) for letter in question.letters]
    require(
        all(len(ids) == 1 for ids in letters), "the tokens of the letters", letters, "one for each letter"
    )
    return [ids[0] for ids in letters]


def _prompt(model: GPT, tokenizer: Tokenizer, question: Choice | Open) -> list[int]:
    prompt = render_for_reply(tokenizer, question.messages[:1])
    room = model.cos.size(0) - 1
    require(len(prompt) <= room, "the tokens of a question", len(prompt), f"at most {room}: leave it out")
    return prompt
