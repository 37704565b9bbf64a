"""Where each fact of a run stands in the coordination store. All values are JSON objects with a `schema`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Keys:
    """The keys of one run."""

    run: str

    @property
    def root(self) -> str:
        """Prefix of all keys."""
        return f"/curtail/{self.run}/"

    @property
    def identity(self) -> str:
        """What is trained: hashes of model, tokenizer, data, outer configuration."""
        return f"{self.root}identity"

    @property
    def start(self) -> str:
        """Run time 0 as UTC, written once by the first process of the run."""
        return f"{self.root}start"

    @property
    def epoch(self) -> str:
        """The current epoch record."""
        return f"{self.root}epoch"

    @property
    def head(self) -> str:
        """The newest commit record; its `complete` is true when every row is done."""
        return f"{self.root}head"

    @property
    def members(self) -> str:
        """Prefix of the leased keys of living sites."""
        return f"{self.root}members/"

    def member(self, site: str) -> str:
        """A living site's leased key."""
        return f"{self.members}{site}"

    def drain(self, site: str) -> str:
        """Present while the site is asked to leave; written and removed by its agent."""
        return f"{self.root}drain/{site}"

    def close(self, epoch: int, round: int) -> str:
        """Present when somebody asks for the end of this round."""
        return f"{self.root}close/{epoch}.{round}"

    def suspect(self, epoch: int, site: str) -> str:
        """Present when a survivor found this member's connection closed."""
        return f"{self.root}suspect/{epoch}/{site}"

    def affirm(self, epoch: int, site: str) -> str:
        """A suspected member's word that it lives; written by its membership thread."""
        return f"{self.root}affirm/{epoch}/{site}"

    def holder(self, version: int) -> str:
        """Present when the snapshot of this version is durable."""
        return f"{self.root}holders/{version}"
