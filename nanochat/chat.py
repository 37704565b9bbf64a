"""Verb: talk to any run's newest snapshot, or have it go on with a text."""

import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from nanochat.arguments import add_device, check_device
from nanochat.conversation import ASSISTANT, USER, Message, end_of_reply, render_for_reply
from nanochat.generate import Sampling, generate
from nanochat.model import GPT
from nanochat.saved import Saved, load_newest
from nanochat.settings import require
from nanochat.tokenizer import Tokenizer
from nanochat.verb import Parser, run, say, write

ROOM = 64
"""Positions that a conversation leaves for the reply, at least."""


class Speaker:
    """A model with its tokenizer, that answers in text."""

    def __init__(self, model: GPT, tokenizer: Tokenizer, *, sampling: Sampling, most: int) -> None:
        """Draw at most `most` tokens of a reply, as `sampling` says."""
        self._model = model
        self._tokenizer = tokenizer
        self._sampling = sampling
        self._most = most

    def reply(self, messages: Iterable[Message]) -> Iterator[str]:
        """Yield the assistant's answer, in pieces of whole characters.

        Raises:
            ValueError: The conversation does not end with the user, or leaves too little room for a reply.
        """
        prompt = render_for_reply(self._tokenizer, messages)
        return self._spoken(prompt, end_of_reply(self._tokenizer))

    def go_on(self, text: str) -> Iterator[str]:
        """Yield what follows `text` in a document that begins with it."""
        prompt = [self._tokenizer.bos_id, *self._tokenizer.encode(text)]
        return self._spoken(prompt, frozenset({self._tokenizer.bos_id}))

    def _spoken(self, prompt: list[int], stop: frozenset[int]) -> Iterator[str]:
        room = self._model.cos.size(0) - len(prompt)
        require(
            room >= ROOM, "the positions left for a reply", room, f"at least {ROOM}: begin a new conversation"
        )
        tokens = generate(self._model, prompt, most=min(self._most, room), sampling=self._sampling, stop=stop)
        return in_whole_characters(self._tokenizer, (token for token in tokens if token not in stop))


def in_whole_characters(tokenizer: Tokenizer, tokens: Iterable[int]) -> Iterator[str]:
    """Yield the tokens' text as it grows; a character that is spread over tokens comes when it is whole."""
    held: list[int] = []
    for token in tokens:
        held.append(token)
        text = tokenizer.decode(held)
        if not text.endswith("\N{REPLACEMENT CHARACTER}"):
            yield text
            held.clear()
    if held:
        yield tokenizer.decode(held)


def main(argv: list[str] | None = None) -> None:
    """Parse, load, talk."""
    parser = Parser("Talk to a run's newest snapshot.", root=False)
    parser.add_argument("run_dir", metavar="RUN_DIR", type=Path, help="a run's directory, or a vanilla root")
    parser.add_argument("-p", "--prompt", default=None, help="say this, print the answer, end")
    parser.add_argument("--complete", action="store_true", help="go on with the text instead of answering it")
    parser.add_argument("--max-tokens", type=int, default=256, help="of an answer")
    parser.add_argument("--temperature", type=float, default=0.8, help="0: always the likeliest token")
    parser.add_argument("--top-k", type=int, default=50, help="draw from so many tokens; 0: from all")
    parser.add_argument("--seed", type=int, default=0, help="of the draws")
    add_device(parser)
    args = parser.parse_args(argv)
    check_device(args)
    require(args.max_tokens >= 1, "--max-tokens", args.max_tokens, "at least 1")
    sampling = Sampling(temperature=args.temperature, top_k=args.top_k, seed=args.seed)
    saved = load_newest(args.run_dir)
    speaker = Speaker(saved.model.to(args.device), saved.tokenizer, sampling=sampling, most=args.max_tokens)
    answer = speaker.go_on if args.complete else _Conversation(speaker).say
    if args.prompt is not None:
        _print(answer(args.prompt))
    else:
        _talk(saved, answer)


class _Conversation:
    """What was said so far."""

    def __init__(self, speaker: Speaker) -> None:
        self._speaker = speaker
        self._messages: list[Message] = []

    def say(self, text: str) -> Iterator[str]:
        said = [*self._messages, Message(USER, text)]
        pieces: list[str] = []
        for piece in self._speaker.reply(said):
            pieces.append(piece)
            yield piece
        self._messages = [*said, Message(ASSISTANT, "".join(pieces))]


def _talk(saved: Saved, answer: Callable[[str], Iterator[str]]) -> None:
    say(f"{saved.path.name}, {saved.model.parameter_count():,} parameters; an empty line ends")
    while True:
        try:
            text = input("> ")
        except EOFError:
            return
        if not text.strip():
            return
        try:
            _print(answer(text))
        except ValueError as error:  # what was typed cannot be answered; something else can
            sys.stderr.write(f"error: {' '.join(str(error).split())}\n")


def _print(pieces: Iterator[str]) -> None:
    for piece in pieces:
        write(piece)
    say("")


if __name__ == "__main__":
    sys.exit(run(main))
