"""A causal language model of Hugging Face Transformers, made from a configuration, at sites that come and go.

Its texts are sums, written out: row n of the data set is made from n, so that no site needs a file.
"""

import random

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

import curtail_dist as cd

LENGTH = 48
SYMBOLS = "0123456789+= "


def sums(numbers: list[int]) -> Tensor:
    """Rows of sums such as `17+25=42 `, as tokens [rows, LENGTH]."""
    return torch.tensor([[SYMBOLS.index(letter) for letter in text(number)] for number in numbers])


def text(number: int) -> str:
    """The text of one row."""
    chance, written = random.Random(number), ""
    while len(written) < LENGTH:
        first, second = chance.randrange(50), chance.randrange(50)
        written += f"{first}+{second}={first + second} "
    return written[:LENGTH]


def build_model() -> LlamaForCausalLM:
    """A small Llama."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(SYMBOLS),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=LENGTH,
        )
    )


def main(config: cd.RunConfig, name: str) -> None:
    """Train at site `name`; keep the model of a complete run as Transformers does, beside the run."""
    torch.manual_seed(config.run.seed)
    model = build_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.train.options.get("lr", 3e-3))
    with cd.Site(config, name) as site:
        outer = cd.DiLoCo(site, model, optimizer)
        for numbers in site.indices(batch=config.train.options.get("batch", 16)):
            tokens = sums(numbers)
            loss = model(input_ids=tokens, labels=tokens).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            outer.step(tokens=tokens.numel(), loss=loss.item())
        if site.leads and site.head is not None and site.head.complete:
            model.save_pretrained(config.run.directory / "model")


if __name__ == "__main__":
    main(*cd.arguments())
