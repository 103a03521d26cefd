"""Stages, flows and what was measured of a stage, as tables in the terminal."""

from importlib.util import find_spec
from pathlib import Path
from textwrap import indent

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from darkroom.flows import FLOWS, SHIPPED_FLOWS, SHIPPED_STAGES, STAGES, Stage
from darkroom.settings import REPOSITORY, config_file, settings
from darkroom.stages.report import Finding, Loaded, Report, Speed

console = Console()
_INDENT = 8
_MARKS = {"ok": "[green]ok[/]     ", "warning": "[yellow]warning[/]", "failed": "[red]failed[/] "}


def show_list() -> None:
    """Every stage and every flow."""
    stages = _table("stage", "takes → gives", "lanes", "batch", "memory", "model and class")
    for stage in STAGES.values():
        where = f"{origin(stage)}: {file_of(stage) or stage.implementation}"
        stages.add_row(
            stage.name, f"{stage.takes} → {stage.gives}", f"{stage.servers} × {stage.lanes_per_server}",
            str(stage.batch_size), f"{stage.memory_mb} MB", f"{escape(stage.model)}\n[dim]{escape(where)}[/]",
        )  # fmt: skip
    flows = _table("flow", "stages", "what")
    for name, flow in FLOWS.items():
        own = "" if name in SHIPPED_FLOWS else " [dim](own)[/]"
        flows.add_row(name + own, " → ".join(flow.stages), escape(flow.summary))
    console.print(stages, flows, "[dim]lanes: servers on this machine × chunks that each works on[/]")


def show_report(report: Report, stage: Stage, measured_with: str) -> None:
    """What was found out about a stage, and what to put into its row."""
    if report.loaded:
        _show_loaded(report.loaded)
    for finding in report.findings:
        _show_finding(finding)
    if report.speeds:
        console.print(_speeds(report, stage), f"[dim]{measured_with}[/]")
    if recommended := report.recommended:
        place = escape(f"[stages.{report.stage}] of {short(config_file())}")
        console.print(f"\nMeasured here; put into {place}:", highlight=False, soft_wrap=True)
        for field, value in recommended.model_dump().items():
            console.print(f"  {field} = {value}", highlight=False)


def origin(stage: Stage) -> str:
    """Whose it is: `shipped`, `own`, or `changed` where a row changes a shipped one."""
    shipped = SHIPPED_STAGES.get(stage.name)
    if shipped is None:
        return "own"
    return "shipped" if stage == shipped else "changed"


def file_of(stage: Stage) -> str | None:
    """Where its class is; None: nowhere that this machine knows."""
    module = stage.implementation.partition(":")[0]
    own = settings().code / f"{module.replace('.', '/')}.py"
    try:
        found = find_spec(module)
    except ModuleNotFoundError:
        found = None
    if found is not None and found.origin:
        return short(Path(found.origin))
    return short(own) if own.exists() else None


def short(path: Path) -> str:
    """As seen from the top of the checkout, where it is below it."""
    return str(path.relative_to(REPOSITORY)) if path.is_relative_to(REPOSITORY) else str(path)


def _show_loaded(loaded: Loaded) -> None:
    device = f" on {loaded.device}" if loaded.device else ""
    gpu = f", {loaded.gpu_mb} MB of GPU memory" if loaded.gpu_mb is not None else ""
    console.print(
        f"[bold]{loaded.implementation}[/] ({escape(loaded.model)}){escape(device)}: loaded in "
        f"{loaded.seconds:.2f} s, RAM {loaded.ram_before_mb} → {loaded.ram_mb} MB{gpu}",
        highlight=False,
        soft_wrap=True,
    )


def _show_finding(finding: Finding) -> None:
    console.print(f"{_MARKS[finding.state]} {escape(finding.what)}", highlight=False, soft_wrap=True)
    if finding.todo:
        console.print(Padding(f"→ {escape(finding.todo)}", (0, 0, 0, _INDENT)), highlight=False)
    if finding.traceback:  # unwrapped, so that a path can be clicked
        text = indent(finding.traceback.rstrip(), " " * _INDENT)
        console.print(f"[dim]{escape(text)}[/]", highlight=False, soft_wrap=True)


def _speeds(report: Report, stage: Stage) -> Table:
    gpu = any(speed.gpu_mb is not None for speed in report.speeds)
    table = _table("batch", "p50", "p95", "items/s", "RAM", *(["GPU"] if gpu else []), "")
    for column in table.columns[:-1]:
        column.justify = "right"
    best = report.recommended and report.recommended.batch_size
    for speed in report.speeds:
        figures = [_time(speed.p50_s), _time(speed.p95_s), f"{speed.items_per_s:.4g}", f"{speed.ram_mb} MB"]
        figures += [f"{speed.gpu_mb} MB"] if gpu else []
        note = "[green]recommended[/]" if speed.batch_size == best else _beyond(speed, stage)
        if speed.error:
            figures, note = [""] * len(figures), f"[red]{escape(speed.error)}[/]"
        table.add_row(str(speed.batch_size), *figures, note)
    return table


def _beyond(speed: Speed, stage: Stage) -> str:
    if speed.p95_s > stage.deadline_s:
        return "[yellow]beyond deadline_s[/]"
    return "[yellow]beyond memory_mb[/]" if speed.memory_mb > stage.memory_mb else ""


def _time(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"


def _table(*headings: str) -> Table:
    table = Table(box=box.SIMPLE, padding=(0, 1, 0, 0))
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table
