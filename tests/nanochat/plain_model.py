"""The model as plainly as it can be said: fp64, one token at a time, from the names of the weights alone."""

import math

import torch


def rms(x):
    return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt()


def turned(x, position, base, rounded):  # x: [D]
    half = len(x) // 2
    angles = position * base ** -(torch.arange(half, dtype=torch.float32) * 2 / len(x))
    cos, sin = (f(angles).bfloat16() if rounded else f(angles) for f in (torch.cos, torch.sin))
    cos, sin = cos.double(), sin.double()
    return torch.cat((x[:half] * cos + x[half:] * sin, -x[:half] * sin + x[half:] * cos))


def reach(config, layer):
    """How many tokens before its own a layer sees."""
    letter = config.window_pattern[layer % len(config.window_pattern)]
    if letter == "L" or layer == config.n_layer - 1:
        return config.sequence_length * 10
    if config.variant == "2026-01":
        return math.ceil(config.sequence_length / 2)
    return math.ceil(config.sequence_length / 4 / 128) * 128


def attention(weights, config, layer, x, added):  # x: [T, C], normed; added: [T, Hkv, D]
    new = config.variant == "2026-07"
    base, gain = (100_000.0, 1.2) if new else (10_000.0, 1.0)
    T, D = len(x), config.head_dim
    name = f"blocks.{layer}.attention"
    q = (x @ weights[f"{name}.q.weight"].T).view(T, config.n_head, D)
    k = (x @ weights[f"{name}.k.weight"].T).view(T, config.n_kv_head, D)
    v = (x @ weights[f"{name}.v.weight"].T).view(T, config.n_kv_head, D) + added
    q, k = (
        [[rms(turned(head, t, base, not new)) * gain for head in one[t]] for t in range(T)] for one in (q, k)
    )
    out = torch.zeros(T, config.n_head, D, dtype=torch.float64)
    for h in range(config.n_head):
        shared = h // (config.n_head // config.n_kv_head)
        for t in range(T):
            first = max(0, t - reach(config, layer))
            scores = torch.stack([q[t][h] @ k[s][shared] / D**0.5 for s in range(first, t + 1)])
            out[t, h] = scores.softmax(0) @ v[first : t + 1, shared]
    return out.reshape(T, -1) @ weights[f"{name}.out.weight"].T


def logits(model, tokens):  # tokens: [T] -> [T, V]
    """Logits of one sequence."""
    config = model.config
    new = config.variant == "2026-07"
    weights = {name: value.double() for name, value in model.state_dict().items()}
    T, L = len(tokens), config.n_layer
    entry = rms(weights["embedding.weight"][tokens])
    start = entry.clone()
    if new:
        for t in range(1, T):
            gate = torch.sigmoid(weights["smear.gate.weight"][0] @ entry[t, :24])
            start[t] = entry[t] + weights["smear.strength"][0] * gate * entry[t - 1]
    x, middle = start, start
    for i in range(L):
        x = weights["residual_lambdas"][i] * x + weights["x0_lambdas"][i] * start
        added = torch.zeros(T, config.n_kv_head, config.head_dim, dtype=torch.float64)
        if new and i % 2 == (L - 1) % 2:
            gate = 3 * torch.sigmoid(rms(x)[:, :12] @ weights[f"blocks.{i}.value_gate.weight"].T)
            added = gate[..., None] * weights[f"value_embeddings.{i}.weight"][tokens].view(added.shape)
        x = x + attention(weights, config, i, rms(x), added)
        inner = (rms(x) @ weights[f"blocks.{i}.mlp.up.weight"].T).clamp_min(0).square()
        x = x + inner @ weights[f"blocks.{i}.mlp.down.weight"].T
        middle = x if i == L // 2 else middle
    if new:
        x = x - weights["back_out"][0] * middle
    z = (rms(x) @ weights["head.weight"].T)[:, : config.vocab_size]
    return 15 * torch.tanh(z / 15)
