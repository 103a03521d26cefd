"""One real stack for all tests here, in a folder and on ports of its own, with short time-outs."""

import pytest

from tests.stack.handle import new_stack, running


@pytest.fixture(scope="package")
def stack():
    """A stack with every part at work; a test that breaks it waits until it is whole again."""
    with running(new_stack()) as started:
        yield started
