"""A set of names that never grows: a Bloom filter. It may hold what was never added, never miss what was.

So whoever removes what is not in it removes too little, never too much; another time, with another salt,
it goes.
Source: Bloom, Space/time trade-offs in hash coding with allowable errors, CACM 13 (1970), 422-426.
"""

import hashlib
import os
from collections.abc import Iterator

SIZE_BYTES = 32 << 20
"""One in a thousand of what was never added is held at 18 million names, one in ten at 48 million."""
_HASHES = 7


class Marks:
    """Names that were seen."""

    def __init__(self, size_bytes: int = SIZE_BYTES) -> None:
        self._bits = bytearray(size_bytes)
        self._salt = os.urandom(16)

    def add(self, name: str) -> None:
        """Hold a name."""
        for place in self._places(name):
            self._bits[place >> 3] |= 1 << (place & 7)

    def __contains__(self, name: str) -> bool:
        return all(self._bits[place >> 3] & 1 << (place & 7) for place in self._places(name))

    def _places(self, name: str) -> Iterator[int]:
        digest = hashlib.blake2b(name.encode(), digest_size=16, key=self._salt).digest()
        first, step = int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:], "big") | 1
        for number in range(_HASHES):
            yield (first + number * step) % (8 * len(self._bits))
