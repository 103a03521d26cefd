"""Airflow's UI as a person uses it."""

import re
from dataclasses import dataclass
from datetime import date

from playwright.sync_api import Locator, Page, expect


@dataclass(frozen=True)
class Ui:
    """One user at one plant."""

    page: Page
    url: str
    user: str
    password: str

    def log_in(self, path: str = "/") -> Page:
        """Ask for a page, and be led to it through the login."""
        self.page.goto(self.url + path)
        self.page.fill("input[name=username]", self.user)
        self.page.fill("input[name=password]", self.password)
        self.page.click("button[type=submit]")
        self.page.wait_for_url(self.url + path)
        return self.page

    def visit(self, path: str) -> Page:
        """Another page."""
        self.page.goto(self.url + path)
        return self.page

    def form(self, dag_id: str) -> Locator:
        """The form that starts a run."""
        self.visit(f"/dags/{dag_id}").get_by_role("button", name="Trigger").first.click()
        form = self.page.get_by_role("dialog").first
        form.get_by_text("Run Parameters").wait_for()
        return form

    def trigger(self, form: Locator) -> None:
        """Press the form's button."""
        form.get_by_test_id("trigger-dag-submit").click()

    def run_shown(self, dag_id: str) -> str:
        """The path of the run that the UI shows after a trigger."""
        self.page.wait_for_url(re.compile(rf"/dags/{dag_id}/runs/"))
        return self.page.url.removeprefix(self.url)

    def succeeded(self) -> None:
        """Wait until the run that is shown has ended well."""
        header = self.page.get_by_test_id("header-card")
        expect(header).to_contain_text(re.compile("Success|Failed"), timeout=120_000)
        expect(header).to_contain_text("Success")

    def pick(self, form: Locator, day: date) -> None:
        """Midnight of a day, in the first field for a time that is still empty."""
        form.get_by_text("Select date and time").first.click()
        self.page.get_by_placeholder("YYYY/MM/DD").fill(f"{day:%Y/%m/%d}")
        self.page.get_by_placeholder("HH:mm").fill("00:00")
        self.page.get_by_placeholder("HH:mm").press("Enter")
        form.get_by_text("Date Range").click()  # beside the calendar closes it
        expect(self.page.get_by_placeholder("HH:mm")).to_have_count(0)


def pictures_loaded(page: Page, count: int) -> None:
    """Wait until so many pictures are on the page, and the browser has every one of them."""
    expect(page.locator("main img")).to_have_count(count)
    for picture in page.locator("main img").all():
        picture.scroll_into_view_if_needed()  # they load when they are seen
    page.wait_for_function("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
