"""Where items come from: each source yields items and reports what is not one."""

from darkroom.sources.base import Source, from_here, look_up, open_source
from darkroom.sources.reading import OnProgress, Reading, SourceLine, read

__all__ = ["OnProgress", "Reading", "Source", "SourceLine", "from_here", "look_up", "open_source", "read"]
