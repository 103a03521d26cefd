import base64
import threading
import time
from dataclasses import replace
from email.utils import formatdate
from io import BytesIO

import pytest
from http_endpoint import Answer, Endpoint, as_image, as_json, draw, images
from pictures import encode, halves, png_claiming
from PIL import Image
from tests.servers import model_server

from darkroom.errors import BadRequest, InvalidImage, InvalidItem, StageFailed
from darkroom.serving.client import StageClient
from darkroom.stages import answers
from darkroom.stages.base import Output, Request
from darkroom.stages.endpoint import Endpoint as EndpointStage

PICTURE = encode(halves())
ROW = """
[stages.generate]
implementation = "darkroom.stages.endpoint:Endpoint"
options = "darkroom.stages.options:EndpointOptions"
model = "drawn@test"

[stages.generate.config]
url = "{url}"
"""


def stage_at(url: str, **config: object) -> EndpointStage:
    stage = EndpointStage(url=url, **{"timeout_s": 5, **config})
    stage.load()
    return stage


def ask(stage: EndpointStage, prompt: str = "a red circle", **fields: object):
    (answer,) = stage.run([Request("a", prompt=prompt, **fields)])
    return answer


def answer_to(*scripted, prompt: str = "a red circle", **config: object):
    """What the stage makes of a scripted endpoint, and what the endpoint was asked."""
    with Endpoint(*scripted).serving() as endpoint:
        return ask(stage_at(endpoint.url, **config), prompt), endpoint.asked


def test_a_prompt_is_asked_in_the_openai_shape():
    with Endpoint(images(PICTURE)).serving() as endpoint:
        stage = stage_at(endpoint.url, model="sketch-2")
        fields = {"fields": {"quality": "high", "steps": 4}}
        assert ask(stage, width=512, height=256, seed=2**63 - 1, options=fields).image == PICTURE
        assert ask(stage, width=64).image == PICTURE
        first, second = (asked.json for asked in endpoint.asked)
    assert first == {
        "prompt": "a red circle", "n": 1, "size": "512x256", "response_format": "b64_json",
        "model": "sketch-2", "seed": 2**63 - 1, "quality": "high", "steps": 4,
    }  # fmt: skip
    assert second["size"] == "64x64"


def test_an_image_body_is_an_answer_too():
    answer, _ = answer_to(as_image(PICTURE))
    assert answer == Output(image=PICTURE)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_another_format_becomes_a_png(kind):
    for scripted in (as_image(encode(halves(), kind), kind.lower()), images(encode(halves(), kind))):
        answer, _ = answer_to(scripted)
        image = Image.open(BytesIO(answer.image))
        assert (image.format, image.size) == ("PNG", (40, 20))


def test_what_the_endpoint_made_of_a_prompt_is_kept():
    answer, _ = answer_to(images(PICTURE, revised_prompt="a large red circle"))
    assert answer.details == {"revised_prompt": "a large red circle"}


def test_a_picture_goes_as_it_is_with_its_parameters_in_the_query():
    photo = encode(halves(), "JPEG")
    with Endpoint(as_image(PICTURE)).serving() as endpoint:
        stage = stage_at(f"{endpoint.url}?tenant=7", takes="image", model="up-4x")
        request = Request(
            "a", image=photo, prompt="ein Kreis, grün", seed=5, options={"fields": {"scale": 2}}
        )
        assert stage.run([request]) == [Output(image=PICTURE)]
        (asked,) = endpoint.asked
    assert asked.body == photo
    assert asked.headers["content-type"] == "image/jpeg"
    assert asked.query == {
        "tenant": "7", "prompt": "ein Kreis, grün", "model": "up-4x", "scale": "2",
    }  # fmt: skip


def test_a_verdict_is_an_answer():
    said = {"accepted": False, "reasons": ["dull"], "checks": {"score": 0.2}, "took_ms": 12}
    with Endpoint(as_json(said, **{"X-Request-Id": "r-1"})).serving() as endpoint:
        (answer,) = stage_at(endpoint.url, takes="image").run([Request("a", image=PICTURE)])
    assert answer.verdict.reasons == ["dull"]
    assert answer.verdict.checks == {"score": 0.2}
    assert answer.details == {"request_id": "r-1"}


def test_what_is_no_picture_is_not_sent():
    with Endpoint(as_image(PICTURE)).serving() as endpoint:
        stage = stage_at(endpoint.url, takes="image")
        errors = stage.run([Request("empty"), Request("text", image=b"<html>"), Request("ok", image=PICTURE)])
        assert len(endpoint.asked) == 1
    assert [type(error) for error in errors] == [InvalidItem, InvalidImage, Output]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (as_json({"error": {"message": "too rude"}}, 400), "400 too rude"),
        (as_json({"detail": "size: unknown"}, 422), "422 size: unknown"),
        (as_json(["what"], 413), '413 ["what"]'),
        (Answer(b"no\n  such  thing", 410), "410 no such thing"),
        (Answer(b"x" * 5000, 400), f"400 {'x' * answers.MAX_MESSAGE}"),
    ],
)
def test_what_the_endpoint_refuses_is_the_items_fault_in_its_own_words(body, words):
    answer, asked = answer_to(body)
    assert isinstance(answer, InvalidItem)
    assert str(answer) == f"the endpoint answers {words}"
    assert len(asked) == 1


@pytest.mark.parametrize("status", [401, 403, 404, 405])
def test_a_wrong_token_or_address_is_no_items_fault(status):
    answer, _ = answer_to(as_json({"detail": "no"}, status))
    assert isinstance(answer, StageFailed)
    assert "are url and token_env right?" in str(answer)


@pytest.mark.parametrize("status", [500, 502, 504])
def test_a_broken_endpoint_is_tried_again_later_and_elsewhere(status):
    answer, asked = answer_to(Answer(b"oh", status))
    assert isinstance(answer, StageFailed)
    assert str(answer) == f"the endpoint answers {status} oh"
    assert len(asked) == 1


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_endpoint_is_waited_for_as_long_as_it_asks(status):
    begun = time.monotonic()
    answer, asked = answer_to(
        Answer(b"", status, {"Retry-After": "0.3"}),
        Answer(b"", status, {"Retry-After": "0"}),
        images(PICTURE),
    )
    assert answer.image == PICTURE
    assert len(asked) == 3
    assert time.monotonic() - begun >= 0.4


def test_waiting_ends_before_the_timeout():
    for header in ({"Retry-After": "60"}, {"Retry-After": formatdate(time.time() + 60, usegmt=True)}):
        begun = time.monotonic()
        answer, asked = answer_to(Answer(b"slow down", 429, header), timeout_s=2)
        assert isinstance(answer, StageFailed)
        assert str(answer) == "the endpoint answers 429 slow down; gave up within 2 s"
        assert len(asked) == 1
        assert time.monotonic() - begun < 2
    answer, asked = answer_to(Answer(b"", 503), timeout_s=1)
    assert isinstance(answer, StageFailed)
    assert len(asked) == 2  # at once and after half a second


def test_retry_after_that_is_no_time_is_not_believed():
    assert [answers.retry_after_s(text) for text in ("", "soon", "nan", "inf", "-3")] == [
        None, None, None, None, 0.0,
    ]  # fmt: skip


def test_nobody_there_is_waited_for_too():
    with Endpoint(images(PICTURE)).serving() as endpoint:
        url = endpoint.url
    answer = ask(stage_at(url, timeout_s=1))
    assert isinstance(answer, StageFailed)
    assert str(answer).startswith("the endpoint can't be reached")
    canary = stage_at(url)
    assert isinstance(canary.run([canary.sample()])[0], StageFailed)


def test_no_answer_within_the_timeout_fails_the_item():
    done = threading.Event()

    def hang(_):
        done.wait(5)
        return images(PICTURE)

    try:
        with Endpoint(hang).serving() as endpoint:
            answer = ask(stage_at(endpoint.url, timeout_s=0.5))
            done.set()
    finally:
        done.set()
    assert isinstance(answer, StageFailed)
    assert str(answer) == "the endpoint did not answer within 0.5 s"


def test_a_redirect_is_not_followed():
    with Endpoint(images(PICTURE)).serving() as other:
        answer, _ = answer_to(Answer(b"", 307, {"Location": other.url}))
        assert other.asked == []
    assert isinstance(answer, StageFailed)
    assert other.url in str(answer)


def test_too_large_an_answer_is_refused(monkeypatch):
    monkeypatch.setattr(answers, "MAX_ANSWER_BYTES", 1000)
    answer, _ = answer_to(as_image(PICTURE + bytes(1000)))
    assert isinstance(answer, StageFailed)
    assert "larger than 1,000 bytes" in str(answer)


@pytest.mark.parametrize(
    ("scripted", "why"),
    [
        (as_image(b"not a picture"), "picture is broken"),
        (as_image(png_claiming(50_000, 50_000)), "picture is broken"),
        (
            Answer(b"<html>hello</html>", 200, {"Content-Type": "text/html; charset=utf-8"}),
            "with text/html, no",
        ),
        (as_json([1]), "no object"),
        (as_json({"data": []}), "neither data"),
        (as_json({"data": [{"url": "http://elsewhere/a.png"}]}), "neither data"),
        (as_json({"data": [{"b64_json": "!!"}]}), "neither data"),
        (as_json({"data": [{"b64_json": base64.b64encode(b"x").decode()}]}), "picture is broken"),
        (as_json({"accepted": "maybe"}), "verdict.accepted"),
    ],
)
def test_an_answer_that_is_none_is_the_endpoints_fault(scripted, why):
    answer, _ = answer_to(scripted)
    assert isinstance(answer, StageFailed)
    assert why in str(answer)


def test_items_are_sent_at_the_same_time_and_answered_in_order():
    together = threading.Barrier(4, timeout=5)

    def wait_for_the_others(asked):
        together.wait()
        return draw(asked)

    with Endpoint(wait_for_the_others).serving() as endpoint:
        stage = stage_at(endpoint.url, concurrency=4)
        batch = [Request(str(n), prompt=f"prompt {n}", seed=n) for n in range(4)]
        outputs = stage.run(batch)
    assert len({output.image for output in outputs}) == 4


def test_the_token_is_read_from_the_environment_and_goes_with_every_request(monkeypatch):
    monkeypatch.setenv("SKETCH_TOKEN", "s3cret\n")
    with Endpoint(images(PICTURE)).serving() as endpoint:
        stage = stage_at(endpoint.url, token_env="SKETCH_TOKEN")
        assert ask(stage).image == PICTURE
        assert endpoint.asked[0].headers["authorization"] == "Bearer s3cret"
    for value, why in (("", "is not set"), ("two words", "can't be a token")):
        monkeypatch.setenv("SKETCH_TOKEN", value)
        with pytest.raises(BadRequest, match=f"SKETCH_TOKEN.*{why}|{why}"):
            stage_at("https://example.test/", token_env="SKETCH_TOKEN")


def test_the_environment_changes_nothing_about_where_a_request_goes(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    answer, _ = answer_to(images(PICTURE))
    assert answer.image == PICTURE


def test_options_are_the_endpoints_fields_and_nothing_that_we_send():
    with Endpoint(images(PICTURE)).serving() as endpoint:
        stage = stage_at(endpoint.url)
        for options, field in (
            ({"quality": "high"}, "options.quality"),
            ({"fields": {"prompt": "another"}}, "options.fields.prompt"),
            ({"fields": {"deep": {}}}, "options.fields"),
        ):
            error = ask(stage, options=options)
            assert isinstance(error, InvalidItem)
            assert field in str(error)
        assert endpoint.asked == []


def test_the_canary_draws_nothing_unless_told_to():
    with Endpoint(draw).serving() as endpoint:
        stage = stage_at(endpoint.url)
        assert stage.run([stage.sample()]) == [Output(details={"status": 405})]
        assert stage.run([replace(stage.sample())])[0].image  # a copy is an item like any other
        item = stage_at(endpoint.url, canary="item")
        assert item.run([item.sample()])[0].image
        assert stage.run([Request("canary", prompt="an item of that name")])[0].image
        assert [asked.method for asked in endpoint.asked] == ["GET", "POST", "POST", "POST"]


@pytest.mark.parametrize(
    ("status", "health", "well"),
    [(200, False, True), (405, False, True), (401, False, False), (500, False, False), (404, True, False)],
)
def test_the_canary_knows_a_sick_endpoint(status, health, well):
    with Endpoint(Answer(b"", status)).serving() as endpoint:
        config = {"health_url": endpoint.url} if health else {}
        stage = stage_at(endpoint.url, **config)
        (answer,) = stage.run([stage.sample()])
    assert isinstance(answer, Output) is well


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({}, "url: Field required"),
        ({"url": "ftp://example.test/"}, "url: give http://"),
        ({"url": "example.test/images"}, "url: give http://"),
        ({"url": "http://"}, "url: give http://"),
        ({"url": "https://me:secret@example.test/"}, "url: no user or password"),
        (
            {"url": "https://a.test/", "token": "abc"},
            "token: there is no such keyword; there are: url, token_env",
        ),
        ({"url": "https://a.test/", "token_env": "sk-abc"}, "token_env: "),
        ({"url": "https://a.test/", "concurrency": 0}, "concurrency: "),
        ({"url": "https://a.test/", "timeout_s": "soon"}, "timeout_s: "),
        ({"url": "https://a.test/", "canary": "maybe"}, "canary: Input should be 'look' or 'item'"),
    ],
)
def test_a_wrong_configuration_is_named(config, said):
    with pytest.raises(ValueError, match="^" + said.replace("(", r"\(")):
        EndpointStage(**config)


def test_a_real_model_server_looks_at_the_endpoint_and_asks_it_for_items(tmp_path, monkeypatch):
    with Endpoint(draw).serving() as endpoint:
        config = tmp_path / "darkroom.toml"
        config.write_text(ROW.format(url=endpoint.url))
        monkeypatch.setenv("DARKROOM_CONFIG", str(config))
        with model_server("generate") as url, StageClient(url, 30) as client:
            client.canary(30)
            assert {asked.method for asked in endpoint.asked} == {"GET"}
            options = {"fields": {"steps": 2}}
            output = client.run(Request("a", prompt="a red circle", width=64, seed=5, options=options))
            assert Image.open(BytesIO(output.image)).size == (64, 64)
            with pytest.raises(InvalidItem, match="against our rules"):
                client.run(Request("b", prompt="a forbidden word"))
        assert [asked.method for asked in endpoint.asked if asked.method == "POST"] == ["POST", "POST"]
