"""The board inside Airflow, while four real batches wait for two servers of C."""

import pytest
from playwright.sync_api import expect

from tests.stack import waiting
from tests.stack.plant import finished
from tests.stack.waiting import ITEMS

A_WHILE_MS = 240_000


@pytest.fixture
def four_batches(stack):
    return waiting.four_batches()


def test_inspect_is_named_and_the_numbers_end_as_those_of_the_manifests(ui, four_batches):
    page = ui("vera").log_in()
    page.locator("a[href$='plugin/darkroom']").first.click()
    board = page.frame_locator("iframe[title=Darkroom]")
    expect(board.locator("#sentence")).to_contain_text("inspect is the bottleneck: ", timeout=A_WHILE_MS)
    expect(board.locator("#what-if tr.named th")).to_have_text("inspect")
    ended = [finished(run) for run in four_batches]
    for batch, summary in ended:
        card = board.get_by_role("article", name=batch.batch_id, exact=True)
        expect(card.locator(".badge")).to_have_text("success")
        expect(card.locator(".counts")).to_have_text(
            f"{summary.completed} of {ITEMS} done · {summary.failed} failed, {summary.rejected} rejected"
        )
    expect(board.locator("#pictures img").first).to_be_visible()
    board.get_by_role("link", name=ended[0][0].batch_id, exact=True).click()
    expect(board.locator("main figure").first).to_be_visible()  # its contact sheet, in the frame
