"""The bare alternative to a model server: mosec with the same settings around a worker that answers at once.

`python -m bench.bare_mosec --port 8101` takes any bytes and gives the bytes that our no-op stage gives.
"""

import argparse
import sys
from typing import Any

from mosec import Server, Worker

from darkroom.flows import STAGES
from darkroom.records import Verdict
from darkroom.serving.messages import encode_answer
from darkroom.serving.server import MAX_WAIT_MS, mosec_settings
from darkroom.serving.worker import TIMEOUT_FACTOR
from darkroom.stages.base import Output
from darkroom.stages.noop import PNG

ANSWER = encode_answer(Output(image=PNG, verdict=Verdict(accepted=True)))


class Bare(Worker):
    """Bytes in, bytes out."""

    resp_mime_type = "application/octet-stream"

    def deserialize(self, data: bytes) -> bytes:
        """As they came."""
        return data

    def forward(self, data: Any) -> Any:
        """The same answer for each."""
        return [ANSWER] * len(data) if isinstance(data, list) else ANSWER

    def serialize(self, data: bytes) -> bytes:
        """As they are."""
        return data


def main() -> None:
    """Serve until stopped."""
    parser = argparse.ArgumentParser(prog="python -m bench.bare_mosec", description=__doc__)
    parser.add_argument("--port", required=True, type=int)
    stage = STAGES["generate"]
    sys.argv[1:] = mosec_settings(stage, parser.parse_args().port)
    server = Server()
    server.append_worker(
        Bare,
        max_batch_size=stage.batch_size,
        max_wait_time=MAX_WAIT_MS,
        timeout=stage.deadline_s * TIMEOUT_FACTOR,
    )
    server.run()


if __name__ == "__main__":
    main()
