"""Models from the original nanochat, and to Hugging Face's format."""
