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

    @property
    def orders(self) -> str:
        """Prefix of what an operator ordered for single sites."""
        return f"{self.root}operator/sites/"

    @property
    def refusals(self) -> str:
        """Prefix of what ranks say that end over what the user gave, one key a site."""
        return f"{self.root}refused/"

    def refused(self, site: str) -> str:
        """Why this site's ranks have ended so; gone when its next agent starts."""
        return f"{self.refusals}{site}"

    def order(self, site: str) -> str:
        """What an operator ordered for this site, above its policy."""
        return f"{self.orders}{site}"

    @property
    def stop(self) -> str:
        """An operator's order that every site leaves and every agent ends."""
        return f"{self.root}operator/stop"

    @property
    def agents(self) -> str:
        """Prefix of the leased keys in which agents tell how their sites stand."""
        return f"{self.root}agents/"

    def agent(self, site: str) -> str:
        """How this site stands, as its agent has it."""
        return f"{self.agents}{site}"

    @property
    def outlooks(self) -> str:
        """Prefix of the leased keys in which agents tell what their plans rest on."""
        return f"{self.root}outlooks/"

    def outlook(self, site: str) -> str:
        """What a plan for all sites needs to know of this one."""
        return f"{self.outlooks}{site}"

    @property
    def closes(self) -> str:
        """Prefix of the requests to end a round, one key a site."""
        return f"{self.root}close/"

    def close(self, site: str) -> str:
        """This site's latest request to end a round."""
        return f"{self.closes}{site}"

    def suspect(self, site: str) -> str:
        """The latest epoch in which this site missed a peer."""
        return f"{self.root}suspect/{site}"

    def affirm(self, site: str) -> str:
        """The latest epoch in which this site, suspected, said that it lives."""
        return f"{self.root}affirm/{site}"

    @property
    def holders(self) -> str:
        """Prefix of the versions whose snapshots are durable."""
        return f"{self.root}holders/"

    def holder(self, version: int) -> str:
        """Present when the snapshot of this version is durable."""
        return f"{self.holders}{version}"
