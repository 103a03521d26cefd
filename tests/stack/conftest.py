"""One real stack for all tests here, in a folder and on ports of its own, with short time-outs."""

import pytest

from darkroom.settings import settings
from tests.stack.handle import new_stack, remove


@pytest.fixture(scope="package")
def stack():
    """A stack with every part at work; a test that breaks it waits until it is whole again.

    This process's settings are those of the stack, so that tests may also use Darkroom's functions.
    """
    started = new_stack()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in started.variables.items():
            patch.setenv(name, value)
        settings.cache_clear()
        try:
            up = started.darkroom("up")
            assert up.returncode == 0, up.stderr
            yield started
        finally:
            remove(started)
    settings.cache_clear()
