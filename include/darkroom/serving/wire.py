"""What client and model server say to each other: one frame each way, raw bytes, never pickle.

A frame is `<u32 little-endian length of the header><header: JSON object, UTF-8><payload: raw bytes>`.
Request: header `{"item": {custom_id, prompt, seed, width, height, ...}, "options": {...}}`, payload the
input picture (empty for a prompt). Response: header
`{"details": {...}, "verdict": {...} | null, "error": {"code", "message"} | null}`,
payload the output PNG (empty for a verdict or an error).
A request whose header is `{"canary": true}` has the server run its stage's own `sample()`;
one whose header is `{"wake": true}` asks for nothing.
"""

import struct
from typing import Any

from pydantic_core import from_json, to_json

PATH = "/inference"
"""Where a server takes frames, by HTTP POST."""
_LENGTH = struct.Struct("<I")
MAX_HEADER_BYTES = 1 << 20
MAX_REQUEST_BYTES = 64 << 20
"""A server refuses more (HTTP 413)."""


def pack(header: dict[str, Any], payload: bytes = b"") -> bytes:
    """One frame."""
    head = to_json(header, inf_nan_mode="constants")
    return _LENGTH.pack(len(head)) + head + payload


def unpack(frame: bytes | bytearray) -> tuple[dict[str, Any], bytes]:
    """Header and payload of one frame.

    The payload is copied once: pictures are large, and fresh memory costs more than the copying.

    Raises:
        ValueError: the frame is cut off, its header too long or not a JSON object.
    """
    if len(frame) < _LENGTH.size:
        raise ValueError(f"a frame has at least {_LENGTH.size} bytes, this one {len(frame)}")
    (length,) = _LENGTH.unpack_from(frame)
    end = _LENGTH.size + length
    if length > MAX_HEADER_BYTES or end > len(frame):
        raise ValueError(f"header length {length} does not fit a frame of {len(frame)} bytes")
    header = from_json(frame[_LENGTH.size : end])
    if not isinstance(header, dict):
        raise ValueError("the header is not a JSON object")
    return header, bytes(memoryview(frame)[end:])
