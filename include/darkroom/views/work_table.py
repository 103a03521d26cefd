"""The work of a batch by stage and host, for the terminal."""

from datetime import timedelta

from rich.table import Table

from darkroom.results.summary import Summary, Work


def work_table(summary: Summary) -> Table:
    """A row per stage and host, and beneath how the whole compares with the best that was possible."""
    table = Table(title="Work by stage and host", caption=_pace(summary), caption_justify="left")
    table.add_column("stage")
    table.add_column("host")
    for heading in ("items", "share", "computed", "tries", "s/item", "busy"):
        table.add_column(heading, justify="right")
    for stage, hosts in summary.by_stage_and_host.items():
        computed = sum(work.computed for work in hosts.values())
        for host, work in hosts.items():
            table.add_row(stage, host, *_cells(work, computed))
        table.add_section()
    return table


def _cells(work: Work, of: int) -> list[str]:
    each = f"{work.busy_s / work.computed:.3g}" if work.computed else "-"
    share = f"{work.computed / of:.1%}" if of else "-"
    return [f"{work.items:,}", share, f"{work.computed:,}", f"{work.tries:,}", each, _span(work.busy_s)]


def _pace(summary: Summary) -> str:
    told = [f"took {_span(summary.elapsed_s)}"]
    if summary.excess is not None:
        told.append(
            f"these hosts needed at least {_span(summary.lower_bound_s)}: {summary.excess:.1%} above that"
        )
    if summary.wasted.tries:
        told.append(f"{summary.wasted.tries:,} tries in vain, about {_span(summary.wasted.busy_s)}")
    return "; ".join(told)


def _span(seconds: float) -> str:
    """`1:02:03`, or seconds where it is short."""
    return f"{seconds:.1f} s" if seconds < 60 else str(timedelta(seconds=round(seconds)))  # noqa: PLR2004
