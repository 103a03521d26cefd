"""Where items come from: each source yields items and reports what is not one."""

from darkroom.sources.base import Source, fingerprint, open_source, read
from darkroom.sources.lines import SourceLine

__all__ = ["Source", "SourceLine", "fingerprint", "open_source", "read"]
