"""What client and model server say to each other: one frame each way, raw bytes, never pickle.

A frame is `<u32 little-endian length of the header><header: JSON object, UTF-8><payload: raw bytes>`.
Request: header `{"item": {custom_id, prompt, seed, width, height, ...}, "options": {...}}`, payload the
input picture (empty for a prompt). Response: header
`{"details": {...}, "verdict": {...} | null, "error": {"code", "message"} | null}`,
payload the output PNG (empty for a verdict or an error).
A request whose header is `{"canary": true}` has the server run its stage's own `sample()`.
"""

import json
import struct
from typing import Any

_LENGTH = struct.Struct("<I")
MAX_HEADER_BYTES = 1 << 20


def pack(header: dict[str, Any], payload: bytes = b"") -> bytes:
    """One frame."""
    head = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    return _LENGTH.pack(len(head)) + head + payload


def unpack(frame: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and payload of one frame.

    Raises:
        ValueError: the frame is cut off, its header too long or not a JSON object.
    """
    if len(frame) < _LENGTH.size:
        raise ValueError(f"a frame has at least {_LENGTH.size} bytes, this one {len(frame)}")
    (length,) = _LENGTH.unpack_from(frame)
    end = _LENGTH.size + length
    if length > MAX_HEADER_BYTES or end > len(frame):
        raise ValueError(f"header length {length} does not fit a frame of {len(frame)} bytes")
    try:
        header = json.loads(frame[_LENGTH.size : end])
    except RecursionError as error:
        raise ValueError("the header is nested too deeply") from error
    if not isinstance(header, dict):
        raise ValueError("the header is not a JSON object")
    return header, frame[end:]
