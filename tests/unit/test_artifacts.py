"""What a stage made lies under a key of all that shaped it."""

from tests.unit.chunks import GENERATE, INSPECT

from darkroom.chunks.artifacts import ArtifactKey
from darkroom.stages.base import Request


def test_the_key_changes_with_everything_that_shapes_the_picture_and_with_nothing_else():
    base = Request("a", prompt="p", seed=1)
    same = [Request("b", prompt="p", seed=1)]
    other = [
        Request("a", prompt="q", seed=1),
        Request("a", prompt="p", seed=2),
        Request("a", prompt="p", seed=1, width=64),
        Request("a", prompt="p", seed=1, height=64),
        Request("a", prompt="p", seed=1, image=b"x"),
        Request("a", prompt="p", seed=1, options={"steps": 2}),
    ]
    key = ArtifactKey.of(GENERATE, base).digest
    assert {ArtifactKey.of(GENERATE, request).digest for request in same} == {key}
    digests = {ArtifactKey.of(GENERATE, request).digest for request in other}
    assert len(digests | {key, ArtifactKey.of(INSPECT, base).digest}) == len(other) + 2
