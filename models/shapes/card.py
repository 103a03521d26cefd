"""The measured figures as Markdown, and the model card that carries them.

`python -m models.shapes.card` puts what `results.json` says into `README.md`.
"""

import json
from pathlib import Path
from typing import Any

from models.shapes.data import SHAPES
from models.shapes.tally import KINDS, NOTHING, PROPERTIES, Score

CARD = Path(__file__).with_name("README.md")
RESULTS = Path(__file__).with_name("results.json")
BEGIN, END = "<!-- figures: begin -->\n", "<!-- figures: end -->\n"


def figures(results: dict[str, Any]) -> str:
    """All that `evaluate` measured, for people."""
    captions, weights, speed = results["captions"], results["weights"], results["ms_per_picture"]
    reader = results["reader_on_drawings"]["everything"]["all"]
    facts = [
        f"* Weights: `{weights['file']}`, {weights['bytes']:,} bytes, SHA-256 `{weights['sha256']}`.",
        f"* Captions: {captions['number']:,}, all different: {captions['one figure']} of one figure, "
        f"{captions['two figures']} of two. {captions['never_in_training']} never occurred in the training.",
        f"* Sampling: {results['sampling']['steps']} steps, guidance {results['sampling']['cfg']:g}, "
        f"a seed of its own for each picture, counted from {captions['seed']}.",
        f"* The reader on drawn pictures of the same captions: {_score(reader)} entirely right.",
        f"* Overlap of a generated picture with the best drawing: median {results['overlap']['median']:.2f}, "
        f"lowest {results['overlap']['lowest']:.2f} (below {results['overlap']['readable']:g} counts as "
        "nothing).",
        f"* One picture, one thread: {speed['cpu_median']:.0f} ms of CPU time (median), "
        f"{speed['wall_median']:.0f} ms by the clock beside other work.",
    ]
    return "\n".join([*facts, "", *_accuracy(results["accuracy"]), "", *_confusion(results["confusion"]), ""])


def with_figures(card: str, results: dict[str, Any]) -> str:
    """The card with these figures in the place of the old ones."""
    before, rest = card.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}{figures(results)}{END}{after}"


def _accuracy(scores: dict[str, dict[str, Score]]) -> list[str]:
    columns = [*KINDS.values(), "all"]
    rows = [
        [
            name,
            *(_score(scores[name][column]) if column in scores[name] else "not asked" for column in columns),
        ]
        for name in PROPERTIES
    ]
    return _table([["right", *columns], *rows])


def _confusion(confusion: dict[str, dict[str, int]]) -> list[str]:
    columns = [*SHAPES, NOTHING]
    rows = [[shape, *(str(confusion[shape].get(found, 0)) for found in columns)] for shape in SHAPES]
    return _table([["asked \\ found", *columns], *rows])


def _table(rows: list[list[str]]) -> list[str]:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return [lines[0], f"|{'---|' * len(rows[0])}", *lines[1:]]


def _score(score: Score) -> str:
    return f"{score['right']} of {score['of']} ({100 * score['right'] / score['of']:.1f}%)"


if __name__ == "__main__":
    CARD.write_text(with_figures(CARD.read_text(), json.loads(RESULTS.read_text())))
    print(CARD)
