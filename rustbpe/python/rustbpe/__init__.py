"""Exact byte-pair encoding in Rust: train a tokenizer, encode text into ids, decode ids into text."""

from rustbpe._rustbpe import SPLIT_PATTERN, Decoder, Tokenizer

__all__ = ["SPLIT_PATTERN", "Decoder", "Tokenizer"]
