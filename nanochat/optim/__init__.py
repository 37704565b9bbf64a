"""The inner optimizer: Muon for the blocks' matrices, AdamW for the rest, at one rank or over several."""

from nanochat.optim.sharded import ShardedMuonAdamW
from nanochat.optim.single import MuonAdamW, Whole

__all__ = ["MuonAdamW", "ShardedMuonAdamW", "Whole"]
