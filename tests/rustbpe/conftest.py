import pytest

import rustbpe

TEXTS = [
    "the cat sat on the mat, the cats sat; it's 2024 and they'll sit",
    "naïve façade — 東京の天気 🙂🙂🙂 \n\n\tx = y  +  z\r\n",
    "aaaaaaaaaa abababab        deep        space",
]


@pytest.fixture(scope="session")
def tokenizer() -> rustbpe.Tokenizer:
    return rustbpe.Tokenizer.train(TEXTS, 320, special_tokens=["<|bos|>", "<|end|>"])
