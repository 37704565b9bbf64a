"""A server of wandb as far as its library asks for one, on loopback, which can fall silent or refuse."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY = "a" * 40
NEVER_S = 300.0


class WandbServer:
    """Keeps the history of the runs that it is told of. Owns its threads until it is left."""

    def __init__(self):
        self.history = {}
        """Run's id -> its points, each a mapping, as they came."""
        self.groups = {}
        """Run's id -> its group."""
        self.unanswered = 0
        """Requests that came while it was silent."""
        self._cut = threading.Event()
        self._over = threading.Event()

        class Answer(_Answer):
            server_ = self

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), name="wandb-server")
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    @property
    def environment(self):
        """What wandb's library is told by."""
        return {
            "WANDB_BASE_URL": self.url,
            "WANDB_API_KEY": KEY,
            "WANDB_ERROR_REPORTING": "false",
            "WANDB_X_DISABLE_STATS": "true",
        }

    def fall_silent(self):
        """Accept connections and requests from now on, and answer none."""
        self._cut.set()

    def refuse(self):
        """Listen no more; idempotent."""
        if self._thread.is_alive():
            self._over.set()
            self._http.shutdown()
            self._thread.join(10)
        self._http.server_close()

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.refuse()

    def answers(self):
        """Whether a request is to be answered; waits where it is not."""
        if self._cut.is_set():
            self.unanswered += 1
            self._over.wait(NEVER_S)
            return False
        return True

    def asked(self, query, told):
        """Answer a query of GraphQL."""
        name = told.get("name")
        if "upsertBucket" in query:
            self.groups.setdefault(name, told.get("groupName"))
            project = {"id": "p", "name": "curtail", "entity": {"id": "e", "name": "me"}}
            bucket = {"id": "b", "name": name, "displayName": name, "config": "{}", "project": project}
            return {"upsertBucket": {"bucket": bucket, "inserted": name not in self.history}}
        if "RunResumeStatus" in query:
            return {"model": self._resumed(name)}
        if "createRunFiles" in query:
            return {"createRunFiles": {"runID": "b", "uploadHeaders": [], "files": []}}
        if "viewer" in query:
            return {"viewer": {"id": "v", "entity": "me", "username": "me", "flags": "{}"}}
        return {}

    def _resumed(self, run):
        points = self.history.get(run)
        if not points:
            return None
        newest = json.dumps(points[-1])
        bucket = {
            "id": "b",
            "name": run,
            "displayName": run,
            "summaryMetrics": newest,
            "config": "{}",
            "tags": [],
            "wandbConfig": '{"t": 1}',
            "logLineCount": 0,
            "eventsLineCount": 0,
            "historyLineCount": len(points),
            "historyTail": json.dumps([newest]),
            "eventsTail": "[]",
        }
        return {"id": "p", "name": "curtail", "entity": {"id": "e", "name": "me"}, "bucket": bucket}

    def streamed(self, run, told):
        """Take in what a run's stream tells."""
        points = self.history.setdefault(run, [])
        chunk = told.get("files", {}).get("wandb-history.jsonl")
        if chunk:
            points[chunk["offset"] :] = map(json.loads, chunk["content"])


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_: WandbServer

    def do_POST(self):
        told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self.server_.answers():
            self.close_connection = True
            return
        answer = {}
        if self.path == "/graphql":
            answer = {"data": self.server_.asked(told["query"], told.get("variables") or {})}
        elif self.path.endswith("/file_stream"):
            self.server_.streamed(self.path.split("/")[-2], told)
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):
        pass
