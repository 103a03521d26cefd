"""How `up` and `down` show what happens: a live table in a terminal, a line per change elsewhere."""

import time
from contextlib import suppress
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

_COLOURS = {"healthy": "green", "done": "green", "stopped": "dim", "waits": "dim"}


class Display:
    """Called with a part and its state; shows it, once per change."""

    def __init__(self, console: Console | None = None) -> None:
        """Show on `console`; default: standard error."""
        self._console = console or Console(stderr=True)
        self._begun = time.monotonic()
        self._states: dict[str, str] = {}
        self._live = Live(console=self._console, get_renderable=self._table, refresh_per_second=5)

    def __call__(self, name: str, state: str) -> None:
        """Take note of a change."""
        if self._states.get(name) == state:
            return
        self._states[name] = state
        if not self._console.is_terminal and not state.startswith("waits"):
            passed_s = time.monotonic() - self._begun
            # Whoever watched may have gone; stopping must go on. Rich answers a broken pipe with SystemExit.
            with suppress(OSError, SystemExit):
                self._console.print(f"{passed_s:6.1f} s  {name:<18} {state}", markup=False, highlight=False)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        for name, state in self._states.items():
            colour = _COLOURS.get(state.partition(" ")[0], "yellow")
            table.add_row(name, f"[{colour}]{state}[/]")
        table.add_row(f"[dim]{time.monotonic() - self._begun:.0f} s[/]", "")
        return table
