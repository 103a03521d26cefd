"""Who wants to hear no more of a batch: a receiver that answered 410 Gone is not asked again.

Key `darkroom:gone:{hash of batch and URL}`. Losing Redis costs one more question.
"""

import hashlib

from darkroom.live.connection import InRedis

PREFIX = "darkroom:gone:"
KEEP_S = 90 * 24 * 3600


class Gone(InRedis):
    """The receivers that are gone; with an empty URL there are none."""

    def add(self, batch_id: str, url: str) -> None:
        """Have `url` told of `batch_id` no more."""
        self._write(lambda pipe: pipe.set(_key(batch_id, url), 1, ex=KEEP_S), "callbacks")

    def knows(self, batch_id: str, url: str) -> bool:
        """Whether it wants no more."""
        return bool(self._ask(lambda server: server.exists(_key(batch_id, url)), 0, "callbacks"))


def _key(batch_id: str, url: str) -> str:
    # A URL may hold a secret of the receiver's.
    return PREFIX + hashlib.sha256(f"{batch_id}\0{url}".encode()).hexdigest()
