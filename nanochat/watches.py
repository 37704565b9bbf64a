"""What a training run looks at on the way: bits per byte, samples of what the model writes, CORE."""

from collections.abc import Sequence

from torch import Tensor

from nanochat.core import Task, evaluate_core
from nanochat.evaluate import Model, nats_and_bytes, per_byte
from nanochat.generate import Sampling, generate
from nanochat.model import GPT
from nanochat.packing import Batch
from nanochat.ranks import Ranks
from nanochat.settings import require
from nanochat.tokenizer import Tokenizer
from nanochat.training import Record, Watch

SAMPLE_PROMPTS = ("def ", "import ", "The ")
SAMPLE_TOKENS = 32


def watch_bits_per_byte(
    forward: Model, batches: Sequence[Batch], token_bytes: Tensor, ranks: Ranks, *, every: int
) -> Watch:
    """`val_bpb`, each rank on its share of the batches, which are all ranks' and lie on the device."""

    def look() -> Record:
        nats, length = nats_and_bytes(forward, batches[ranks.rank :: ranks.count], token_bytes)
        return {"val_bpb": per_byte(*ranks.sum([nats, float(length)]))}

    return Watch(every=every, look=look, at_start=True)


def watch_samples(
    model: GPT,
    tokenizer: Tokenizer,
    ranks: Ranks,
    *,
    every: int,
    prompts: Sequence[str] = SAMPLE_PROMPTS,
) -> Watch:
    """`samples`: how the model goes on with each prompt, always with its likeliest token.

    Raises:
        ValueError: There shall be samples, and the model has too few positions for them.
    """
    begun = [[tokenizer.bos_id, *tokenizer.encode(prompt)] for prompt in prompts]
    positions, needed = model.cos.size(0), max(map(len, begun)) + SAMPLE_TOKENS
    must = f"at least {needed}, for a sample: have longer sequences, or no samples"
    require(not every or positions >= needed, "the number of the model's positions", positions, must)

    def written(prompt: str, ids: list[int]) -> str:
        drawn = generate(
            model,
            ids,
            most=SAMPLE_TOKENS,
            sampling=Sampling(temperature=0),
            stop=frozenset({tokenizer.bos_id}),
        )
        return prompt + tokenizer.decode([token for token in drawn if token != tokenizer.bos_id])

    def look() -> Record:
        if not ranks.leads:
            return {}
        return {"samples": [written(*one) for one in zip(prompts, begun, strict=True)]}

    return Watch(every=every, look=look)


def watch_core(
    model: GPT,
    tokenizer: Tokenizer,
    tasks: Sequence[Task],
    ranks: Ranks,
    *,
    every: int,
    max_per_task: int,
) -> Watch:
    """`core`, or its mean over fewer tasks under the name that says so; the ranks share the items."""

    def look() -> Record:
        result = evaluate_core(model, tokenizer, tasks, max_per_task=max_per_task, ranks=ranks)
        return {result.name.lower(): result.mean}

    return Watch(every=every, look=look)
