"""The model and its training: GPT, Muon, tokenizer, data, evaluation, in one process that knows no sites."""
