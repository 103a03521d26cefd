"""One plant and one browser for all tests here: `make test-browser`."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from tests.browser.ui import Ui
from tests.stack.handle import OVERRIDES, StackUnderTest, new_stack, running

USERS = {"admin": "admin", "vera": "viewer", "greta": ""}
"""With their roles; Greta has a login, and rights on nothing."""
DAILY = {"source": "daily/{day}.jsonl", "flow": "A", "time_zone": "UTC", "wait_h": 72, "missing": "skip"}
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
PATIENCE_MS = 60_000


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, without a window."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.fail("these tests need a browser; on Debian and Ubuntu: apt-get install chromium")
    with sync_playwright() as playwright:
        expect.set_options(timeout=PATIENCE_MS)
        started = playwright.chromium.launch(executable_path=chromium, args=QUIET)
        yield started
        started.close()


@pytest.fixture(scope="package")
def stack(browser: Browser) -> Iterator[StackUnderTest]:
    """A plant as it is shipped, with several users and a partition a day."""
    new = new_stack()
    new.stages = new.home.path.parent / "custom"
    new.stages.mkdir()
    (new.stages / "darkroom.toml").touch()
    users = ",".join(f"{name}:{role}" for name, role in USERS.items())
    overrides = OVERRIDES | {"core.simple_auth_manager_users": users}
    new.more = {"DARKROOM_AIRFLOW_OVERRIDES": json.dumps(overrides), "DARKROOM_DAILY": json.dumps(DAILY)}
    with running(new) as started:
        yield started


@pytest.fixture
def ui(browser: Browser, stack: StackUnderTest) -> Iterator[Callable[[str], Ui]]:
    """Makes the UI as a user sees it, who has not logged in yet."""
    passwords = json.loads((stack.home.airflow / "passwords.json").read_text())
    opened = []

    def as_user(name: str) -> Ui:
        context = browser.new_context(viewport={"width": 1400, "height": 1000})
        context.set_default_timeout(PATIENCE_MS)
        opened.append(context)
        return Ui(context.new_page(), stack.addresses.api_url, name, passwords[name])

    yield as_user
    for context in opened:
        context.close()


@pytest.fixture
def photograph(tmp_path: Path) -> Callable[..., None]:
    """Keep what a page looks like: `make screenshots` names the folder."""
    kept = os.environ.get("DARKROOM_SCREENSHOTS")

    def take(shown: Page | Locator, name: str, **options: Any) -> None:
        if kept:  # for people: what still moves shall come to rest
            (shown if isinstance(shown, Page) else shown.page).wait_for_timeout(1500)
        shown.screenshot(path=Path(kept or tmp_path) / f"{name}.png", **options)

    return take
