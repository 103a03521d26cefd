"""Photographs the UI for the docs in Debian's Chromium: `make screenshots`, on a running plant.

It runs one small batch, so that the graph shows which way it went.
"""

from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from darkroom import stack
from darkroom.api import DAG_ID
from darkroom.commands.batches import api, start

IMAGES = Path(__file__).parent / "images"
CHROMIUM = "/usr/bin/chromium"
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


def main() -> None:
    """Log in, then one picture after the other."""
    run = start("examples/prompts.csv", "A_C", None, {})
    api().wait(DAG_ID, run.run_id, timeout_s=300)
    IMAGES.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        page = browser.new_page(viewport={"width": 1500, "height": 1000})
        log_in(page)
        graph(page, run.run_id)
        trigger_form(page)
        browser.close()


def log_in(page: Page) -> None:
    """As the generated admin."""
    page.goto(stack.api_url())
    page.fill("input[name=username]", "admin")
    page.fill("input[name=password]", stack.admin_password())
    page.click("button[type=submit]")
    page.wait_for_url("**/")


def graph(page: Page, run_id: str) -> None:
    """The graph of `image_flow` with the states of a run."""
    page.set_viewport_size({"width": 2400, "height": 620})
    page.goto(f"{stack.api_url()}/dags/{DAG_ID}/runs/{run_id}")
    page.get_by_role("button", name="Graph").first.click()
    page.get_by_text("choose_flow").first.wait_for()
    page.get_by_role("button", name="Expand all task groups").first.click()
    page.get_by_text("leftovers").first.wait_for()
    page.wait_for_timeout(1500)  # the layout settles; a picture, not a test
    page.get_by_role("button", name="Fit View").click()
    page.wait_for_timeout(1500)
    page.screenshot(path=IMAGES / "image_flow.png", clip={"x": 76, "y": 100, "width": 1620, "height": 500})


def trigger_form(page: Page) -> None:
    """The form that starts a batch."""
    page.goto(f"{stack.api_url()}/dags/{DAG_ID}")
    page.get_by_role("button", name="Trigger").first.click()
    page.get_by_text("Failed items allowed").wait_for()
    page.set_viewport_size({"width": 1100, "height": 1700})
    page.wait_for_timeout(5000)  # the editor of the options loads
    page.screenshot(path=IMAGES / "trigger_form.png")


if __name__ == "__main__":
    main()
