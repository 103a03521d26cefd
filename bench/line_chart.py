"""A line chart with two logarithmic axes, as SVG."""

import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 760, 440
LEFT, RIGHT, TOP, BOTTOM = 70, 170, 50, 50
COLOURS = ("#1f77b4", "#2ca02c", "#d62728", "#9467bd", "#ff7f0e", "#17becf")

Points = Sequence[tuple[float, float]]


def line_chart(
    title: str, x_title: str, lines: Mapping[str, Points], goals: Points, y_range: tuple[float, float]
) -> str:
    """The chart; what lies outside `y_range` is drawn at its edge.

    Args:
        title: above it.
        x_title: below it.
        lines: each with its name, in the same order of x.
        goals: what the lines should stay below.
        y_range: exact powers of ten.
    """
    xs = [x for points in lines.values() for x, _ in points]
    x_low, x_high = math.log10(min(xs)), math.log10(max(xs))
    y_low, y_high = map(math.log10, y_range)

    def place(x: float, y: float) -> tuple[float, float]:
        y = min(max(y, y_range[0]), y_range[1])
        across = (math.log10(x) - x_low) / (x_high - x_low)
        up = (math.log10(y) - y_low) / (y_high - y_low)
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    def text(x: float, y: float, words: str, anchor: str = "middle", colour: str = "#333") -> str:
        return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(words)}</text>'

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-size="12" '
        'font-family="sans-serif">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        text(LEFT, 24, title, "start"),
        text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, x_title),
    ]
    for power in range(round(y_low), round(y_high) + 1):
        _, y = place(10**x_low, 10.0**power)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        parts.append(text(LEFT - 6, y + 4, f"{10.0**power:g} %", "end"))
    for power in range(round(x_low), round(x_high) + 1):
        x, _ = place(10.0**power, y_range[0])
        parts.append(text(x, HEIGHT - BOTTOM + 18, f"{10**power:,}"))
    for x, y in (place(*goal) for goal in goals):
        parts.append(f'<path d="M{x - 14:.1f} {y:.1f}h28" stroke="#333" stroke-width="3"/>')
    ends = []
    for (name, points), colour in zip(lines.items(), COLOURS, strict=False):
        places = [place(*point) for point in points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places]
        ends.append((places[-1][1], name, colour))
    lowest = -math.inf
    for y, name, colour in sorted(ends):  # names beside the ends of their lines, none over another
        lowest = max(y, lowest + 15)
        parts.append(text(WIDTH - RIGHT + 10, lowest + 4, name, "start", colour))
    return "\n".join([*parts, "</svg>", ""])
