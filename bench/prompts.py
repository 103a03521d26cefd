"""What the measurements ask the shapes model for."""

from darkroom.stages.base import Request

SHAPES = ("circle", "square", "triangle")
COLOURS = ("red", "green", "blue", "yellow")


def request(n: int) -> Request:
    """The n-th of endlessly many different requests, all of the same cost."""
    prompt = f"a {COLOURS[n % 4]} {SHAPES[n % 3]} on a white background"
    return Request(f"item-{n}", prompt=prompt, seed=n)
