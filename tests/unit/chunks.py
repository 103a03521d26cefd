"""A batch of one chunk, and a real HTTP server that misbehaves as it is told, item by item."""

import threading
import time
from collections import Counter
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler

from tests.loopback import LoopbackServer, Quiet
from tests.unit.plant import save_plan_chunk

from darkroom.chunks.chunk import run_chunk
from darkroom.errors import StageFailed
from darkroom.flows import STAGES
from darkroom.records import BatchRequest, PlannedItem, Verdict
from darkroom.serving import wire
from darkroom.serving.messages import encode_answer
from darkroom.stages.base import Output
from darkroom.stages.noop import PNG
from darkroom.store.batches import Batch, Index
from darkroom.store.storage import open_store

GENERATE, INSPECT = STAGES["generate"], STAGES["inspect"]


class MisbehavingServer(LoopbackServer):
    """Answers each item as `behaviour` says for its prompt; counts how often each was asked."""

    def __init__(self):
        super().__init__(_Handler)
        self.asked = Counter()
        self.lock = threading.Lock()
        self.down = False
        self.crashes = 0


class _Handler(Quiet, BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):  # noqa: PLR0911, PLR0912 - a table of behaviours
        header, _ = wire.unpack(self.rfile.read(int(self.headers["Content-Length"])))
        if self.server.down:
            return self.drop()
        if header.get("canary"):
            return self.answer(Output(image=PNG))
        item = header["item"]
        with self.server.lock:
            self.server.asked[item["custom_id"]] += 1
            times = self.server.asked[item["custom_id"]]
        match (item["prompt"] or "").split():
            case ["fail", "always"]:
                return self.answer(StageFailed("no"))
            case ["fail", n] if times <= int(n):
                return self.answer(StageFailed("not yet"))
            case ["kill", "always"]:
                time.sleep(0.1)
                return self.die()
            case ["kill", n] if times <= int(n):
                return self.die()
            case ["hang"]:
                self.server.let_go.wait()
                return self.drop()
            case ["slow"]:
                before = self.server.crashes
                for _ in range(20):
                    time.sleep(0.01)
                    if self.server.crashes > before:
                        return self.drop()
            case ["busy", n] if times <= int(n):
                return self.send(429, b"busy")
            case ["drains", n] if times <= int(n):
                return self.send(503, b"draining")
            case ["down"] if times == 1:
                self.server.down = True
                return self.drop()
            case ["nothing"]:
                return self.answer(Output())
        verdict = Verdict(accepted=item["custom_id"] != "ugly", reasons=[])
        return self.answer(Output(image=PNG, verdict=verdict, details={"said": item["custom_id"]}))

    def answer(self, output):
        self.send(200, encode_answer(output))

    def send(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def drop(self):
        self.close_connection = True
        self.connection.close()

    def die(self):
        """As a server that crashes: whatever is in flight dies with it."""
        self.server.crashes += 1
        self.drop()


def batch_of(tmp_path, prompts, flow="A_C", at=None, **fields):
    batch = Batch(open_store(tmp_path.as_uri()), "b1")
    batch.save_request(BatchRequest(flow=flow, source="x", batch_id="b1"))
    items = [
        PlannedItem(custom_id=name, prompt=prompt, seed=n, **fields)
        for n, (name, prompt) in enumerate(prompts.items())
    ]
    if at is not None:
        items = [item.model_copy(update={"expires_at": when}) for item, when in zip(items, at, strict=True)]
    save_plan_chunk(batch, "00000", items)
    index = Index(flow=flow, chunk_ids=["00000"], sizes=[len(items)], items=len(items))
    batch.save_index(index)
    return batch


def in_time(_elapsed_s):
    return False


def outcomes(batch, stage=GENERATE):
    return {row.custom_id: row for row in batch.part(stage.name, "00000")}


def generate(batch, lane, budget_s=60):
    return run_chunk(batch, GENERATE, "00000", lane, lambda elapsed_s: elapsed_s > budget_s)


def misbehaving_server() -> AbstractContextManager[MisbehavingServer]:
    """The server at work."""
    return MisbehavingServer().at_work()
