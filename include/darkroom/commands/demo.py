"""`darkroom demo`: the whole plant, three real batches, and where to look."""

import time
from datetime import UTC, datetime

from rich import box
from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from darkroom import stack
from darkroom.commands.batches import WorkFailed, follow, start, summary_of, verified
from darkroom.commands.elsewhere import is_elsewhere
from darkroom.commands.stack import end_like_ctrl_c
from darkroom.errors import BadRequest

BATCHES = {"A": "examples/prompts.csv", "A_C": "examples/prompts.jsonl", "B_C": "examples/photos"}
console = Console()


def demo() -> None:
    """Start the plant, run a batch through each flow, show where the pictures are.

    The plant stays up; `darkroom down` stops it. Ctrl-C at any moment stops everything.
    """
    end_like_ctrl_c()
    if is_elsewhere():
        raise BadRequest("the demo starts a plant here, and DARKROOM_API_URL leads elsewhere; unset it")
    begun = time.monotonic()
    try:
        stack.up()
        stamp = f"{datetime.now(UTC):%m%d-%H%M%S}"
        watched = [start(source, flow, f"demo-{flow}-{stamp}", {}) for flow, source in BATCHES.items()]
        states = follow(watched)
    except KeyboardInterrupt:
        console.print("\nStopping everything …")
        stack.down()
        raise
    table = Table(box=box.SIMPLE, padding=(0, 1, 0, 0))
    for heading in ("batch", "items", "done", "rejected", "failed", "bad lines", ""):
        table.add_column(heading, no_wrap=True)
    wrong, places = [], []
    for batch_id in (batch.batch_id for batch in watched):
        summary = summary_of(batch_id)
        if states[batch_id] != "success" or summary is None or not verified(batch_id).ok:
            wrong.append(batch_id)
        if summary is not None:
            counts = (summary.items, summary.completed, summary.rejected, summary.failed, summary.rejects)
            table.add_row(batch_id, *map(str, counts), "WRONG" if batch_id in wrong else "verified")
            page = f"{stack.api_url()}/darkroom/batches/{batch_id}"
            places += [f"[bold]{batch_id}[/]", page, *summary.places()]
    console.print(table)
    console.print(*places, sep="\n", soft_wrap=True)
    console.print(
        Panel(
            f"Airflow UI     {stack.api_url()}\n"
            f"user           admin\n"
            f"password       {stack.admin_password()}\n"
            f"stop           make down\n"
            f"once more      make demo",
            title=f"done in {time.monotonic() - begun:.0f} s; the plant stays up", expand=False,
        )
    )  # fmt: skip
    if wrong:
        raise WorkFailed(f"not as it should be: {', '.join(wrong)}; see the Airflow UI")
