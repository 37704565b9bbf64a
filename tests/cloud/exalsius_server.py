"""A double of Exalsius' API: one cluster, the machines it has and those it may be given."""

from faulty import Answer, Asked, FaultyServer

CLUSTER = "3f1f9a52-7a1a-4d0e-9d0f-5a8f4f4f0001"
TOKEN = "exalsius-token-for-tests"


class ExalsiusServer(FaultyServer):
    """Answers as the API's published description says: problem documents, 409 for what is there already."""

    def __init__(self, *pool: str) -> None:
        super().__init__()
        self.status = dict.fromkeys(pool, "AVAILABLE")
        """Machines that are ours, and what has become of them."""
        self.cluster: list[str] = []
        self.added = 0
        """How often a machine was added."""
        self.deploys = True
        """Whether machines that were added become ready at once."""

    def take_out(self) -> None:
        """Be somebody else who takes all machines out of the cluster."""
        with self.lock:
            for node in self.cluster:
                self.status[node] = "AVAILABLE"
            self.cluster.clear()

    def answer(self, asked: Asked) -> Answer:
        if asked.headers.get("authorization") != f"Bearer {TOKEN}":
            return problem(401, "Unauthorized", "The token is not valid.")
        base, _, node = asked.path.partition(f"/v1/cluster/{CLUSTER}/nodes")
        if base or not asked.path.startswith(f"/v1/cluster/{CLUSTER}/nodes"):
            return problem(404, "Not Found", "The cluster was not found.")
        if asked.method == "GET" and not node:
            return Answer(body=self._nodes())
        if asked.method == "POST" and not node:
            return self._add([one["node_id"] for one in asked.body["nodes_to_add"]], asked)
        if asked.method == "DELETE" and node:
            return self._remove(node.strip("/"))
        return problem(405, "Method Not Allowed", asked.method)

    def _nodes(self) -> dict[str, object]:
        nodes = [
            {"id": id, "node_type": "SELF_MANAGED", "node_status": self.status[id]} for id in self.cluster
        ]
        return {"cluster_id": CLUSTER, "nodes": nodes, "total": len(nodes)}

    def _add(self, ids: list[str], asked: Asked) -> Answer:
        assert {one["node_role"] for one in asked.body["nodes_to_add"]} == {"WORKER"}
        for id in ids:
            if id not in self.status:
                return problem(400, "Bad Request", f"Node with ID {id} not found")
            if id in self.cluster:
                return problem(409, "Conflict", f"The node with ID {id} is already in the cluster.")
            if self.status[id] != "AVAILABLE":
                return problem(409, "Conflict", f"The node with ID {id} is not in the `available` state.")
        for id in ids:
            self.cluster.append(id)
            self.status[id] = "OCCUPIED" if self.deploys else "STAGED"
            self.added += 1
        return Answer(body=self._nodes())

    def _remove(self, id: str) -> Answer:
        if id not in self.cluster:
            return problem(409, "Cluster Node Not Found", f"The cluster node with ID {id} was not found.")
        self.cluster.remove(id)
        self.status[id] = "AVAILABLE"
        return Answer(body={"node_id": id})


def problem(status: int, title: str, detail: str, **headers: str) -> Answer:
    """Return a problem document as the API nests it."""
    told = {"title": title, "status": status, "detail": detail}
    return Answer(status=status, body={"detail": told}, headers=headers)
