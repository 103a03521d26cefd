import hashlib
import json
import random
from functools import partial
from itertools import permutations, product

import numpy as np
import pytest
from models.shapes import card, evaluate, samples
from models.shapes.captions import TRAINING_SEED, TRAINING_STEPS, captions_in_training, trials
from models.shapes.data import (
    COLOURS,
    PAIR_SIZE,
    PAIRS,
    POSITIONS,
    SHAPES,
    SIZES,
    Figure,
    Scene,
    draw,
    encode,
    random_scene,
    vocabulary_json,
)
from models.shapes.reading import read
from models.shapes.tally import NOTHING, Tally
from PIL import Image

from darkroom.flows import STAGES
from darkroom.settings import settings
from darkroom.stages.caption import Vocabulary
from darkroom.stages.runtime import find_weights

SHIPPED = STAGES["generate"].model
COLOUR_PAIRS = list(permutations(COLOURS, 2))
PLACES = list(product(SHAPES, SIZES, POSITIONS))


@pytest.fixture(scope="module")
def results():
    return json.loads(card.RESULTS.read_text())


@pytest.fixture(scope="module")
def seen():
    return captions_in_training()


@pytest.fixture(scope="module")
def stage():
    stage = evaluate.Candidate(find_weights(SHIPPED))
    stage.load()
    return stage


# What it is trained on


def test_the_vocabulary_that_ships_is_the_one_of_the_training():
    assert (settings().models / "shapes-vocabulary.json").read_text() == vocabulary_json()


def test_the_served_stage_makes_the_same_tokens_as_the_training(seen):
    vocabulary = Vocabulary.read(settings().models / "shapes-vocabulary.json")
    captions = sorted(seen)[::1000]
    assert [encode(caption) for caption in captions] == [vocabulary.encode(caption) for caption in captions]
    assert encode(None) == vocabulary.unconditional()


def test_a_caption_says_what_the_scene_holds():
    ring = Figure("blue", "ring", "medium", "right")
    heart = Figure("red", "heart", "small", "center")
    pair = Scene((Figure("red", "triangle", "medium", "left"), ring), "white")
    assert pair.caption == "a red triangle at the left and a blue ring at the right on a white background"
    assert Scene((heart,), "pink").caption == "a small red heart at the center on a pink background"
    assert Scene((heart,), "pink", names_center=False).caption == "a small red heart on a pink background"


def test_a_seed_draws_the_pictures_that_the_weights_were_trained_on():
    rng, digest = random.Random(TRAINING_SEED), hashlib.sha256()
    for scene in (random_scene(rng) for _ in range(100)):
        digest.update(scene.caption.encode() + draw(scene).tobytes())
    assert digest.hexdigest() == "e88261eb7e2727c8bd24974b81f0778136d0485e28a243fcc6dfc6174c1e11e9"


# What it is measured on


def test_the_captions_cover_everything_evenly_and_none_twice(seen):
    asked = [trial.scene for trial in trials(seen)]
    one = [scene for scene in asked if len(scene.figures) == 1]
    two = [scene for scene in asked if len(scene.figures) == 2]
    assert len(asked) == len({scene.caption for scene in asked}) == 1232
    assert (len(one), len(two)) == (720, 512)
    places = [(it.shape, it.size, it.position) for (it,) in (scene.figures for scene in one)]
    assert {places.count(place) for place in PLACES} == {6}
    colours = [(scene.figures[0].colour, scene.background) for scene in one]
    assert {colours.count(pair) for pair in COLOUR_PAIRS} == {8}
    pairs = [tuple(figure.shape for figure in scene.figures) for scene in two]
    assert {pairs.count(pair) for pair in product(SHAPES, repeat=2)} == {8}


def test_no_caption_of_two_figures_occurred_in_the_training(seen):
    assert not {trial.scene.caption for trial in trials(seen) if len(trial.scene.figures) == 2} & seen


def test_each_trial_has_noise_of_its_own(seen):
    assert len({trial.seed for trial in trials(seen)}) == 1232


# The reader


@pytest.mark.parametrize("shape", SHAPES)
def test_the_reader_is_right_on_drawings_of_every_size_and_place(shape):
    places = list(product(SIZES, POSITIONS))
    for number, (colour, background) in enumerate(COLOUR_PAIRS[::2]):
        size, position = places[number % len(places)]
        scene = Scene((Figure(colour, shape, size, position),), background)
        reading = read(draw(scene))
        assert (reading.figures, reading.background) == (scene.figures, background)
        assert reading.overlap > 0.99


@pytest.mark.parametrize("places", PAIRS)
def test_the_reader_is_right_on_drawings_of_every_pair_of_shapes(places):
    for number, shapes in enumerate(product(SHAPES, repeat=2)):
        first, background = COLOUR_PAIRS[number % len(COLOUR_PAIRS)]
        second = next(name for name in list(COLOURS)[number % 8 :] if name != background)
        figures = tuple(map(Figure, (first, second), shapes, (PAIR_SIZE,) * 2, places))
        reading = read(draw(Scene(figures, background)))
        assert (reading.figures, reading.background) == (figures, background)


def test_the_reader_finds_nothing_in_an_empty_picture_or_in_noise():
    empty = np.full((64, 64, 3), COLOURS["pink"], np.uint8)
    assert (read(empty).background, read(empty).figures) == ("pink", ())
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    assert read(noise).figures == ()


def test_the_reader_bears_noise_like_the_models():
    scene = Scene((Figure("red", "star", "small", "left"),), "green")
    noise = np.random.default_rng(1).normal(0, 8, (64, 64, 3))
    assert read(np.clip(draw(scene) + noise, 0, 255).astype(np.uint8)).figures == scene.figures


def test_a_second_figure_is_not_overlooked_whatever_its_colour():
    green, white = Figure("green", "star", "medium", "left"), Figure("white", "cross", "medium", "right")
    assert read(draw(Scene((green, white), "cyan"))).figures == (green, white)


# The count


def test_only_what_differs_is_counted_as_wrong():
    asked = Scene((Figure("red", "ring", "small", "left"),), "white")
    drawn = Scene((Figure("red", "circle", "small", "left"),), "white")
    tally = Tally()
    tally.add(asked, read(draw(drawn)))
    tally.add(asked, read(draw(asked)))
    right = {name: score["one figure"]["right"] for name, score in tally.scores().items()}
    assert right == {"background": 2, "colour": 2, "shape": 1, "position": 2, "size": 2, "everything": 1}
    assert tally.confusion()["ring"] == {"circle": 1, "ring": 1}
    assert tally.wrong == [asked.caption]


def test_a_missing_figure_makes_all_of_its_properties_wrong():
    pair = tuple(Figure("red", "ring", PAIR_SIZE, place) for place in PAIRS[0])
    tally = Tally()
    tally.add(Scene(pair, "white"), read(draw(Scene(pair[:1], "white"))))
    assert {name: score["all"]["right"] for name, score in tally.scores().items() if name != "size"} == {
        "background": 1, "colour": 0, "shape": 0, "position": 0, "everything": 0
    }  # fmt: skip
    assert tally.confusion()["ring"] == {NOTHING: 2}


# The weights that ship, and what is said of them


def test_the_weights_draw_what_is_asked_for(stage, seen):
    """A few at half the steps; `python -m models.shapes.evaluate` measures them all."""
    draughtsman = evaluate.Draughtsman(stage, {"steps": 8})
    scores = evaluate.measure(trials(seen)[::100], draughtsman).scores()
    assert scores["background"]["all"] == {"right": 13, "of": 13}
    assert scores["everything"]["all"]["right"] >= 12


def test_another_caption_than_the_pictures_is_found_out(stage, seen):
    asked = trials(seen)[:1000:200]
    draughtsman = evaluate.Draughtsman(stage, {"steps": 4})
    others = dict(zip(asked, [*asked[1:], asked[0]], strict=True))
    tally = evaluate.measure(asked, lambda trial: draughtsman(others[trial]))
    assert tally.scores()["everything"]["all"]["right"] == 0


def test_the_figures_are_those_of_the_weights_that_ship(results):
    name, _, start = SHIPPED.partition("@")
    assert results["weights"]["file"] == f"{name}.onnx"
    assert results["weights"]["sha256"].startswith(start)
    assert results["weights"]["bytes"] == find_weights(SHIPPED).stat().st_size
    assert results["weights"]["sha256"] in (settings().models / "README.md").read_text()


def test_the_weights_reach_their_goals(results):
    def share(name):
        return results["accuracy"][name]["all"]["right"] / results["accuracy"][name]["all"]["of"]

    assert results["captions"]["number"] >= 1000
    assert results["reader_on_drawings"]["everything"]["all"]["right"] == results["captions"]["number"]
    assert min(share("background"), share("colour")) >= 0.99
    assert min(share("shape"), share("position")) >= 0.95
    assert results["ms_per_picture"]["cpu_median"] <= 150
    assert results["weights"]["bytes"] <= 10_000_000


def test_the_card_carries_the_measured_figures(results):
    text = card.CARD.read_text()
    assert card.with_figures(text, results) == text
    assert f"{TRAINING_STEPS:,} steps" in text


def test_the_sheet_shows_the_wrong_ones_too(stage, seen, results):
    wrong = set(results["wrong"])
    chosen = samples.choose(trials(seen), wrong)
    shown = {trial.scene.caption for trial in chosen}
    assert len(chosen) == 3 * samples.COLUMNS + min(len(wrong), samples.COLUMNS)
    assert len(shown & wrong) == min(len(wrong), samples.COLUMNS)
    with Image.open(samples.SHEET) as drawn:
        few = samples.sheet(chosen[:1], evaluate.Draughtsman(stage, {"steps": 1}))
        assert drawn.width == few.width


# With torch: the training


@pytest.fixture(scope="module")
def torch():
    module = pytest.importorskip("torch", reason="models/shapes/requirements.txt has torch, Darkroom hasn't")
    module.set_num_threads(1)
    return module


@pytest.fixture
def training(torch):
    from models.shapes.train import Schedule, Training

    return partial(Training, Schedule(steps=4, batch=2))


def test_the_network_gives_a_velocity_for_each_pixel(torch):
    from models.shapes.network import Network

    network = Network(35, 20)
    assert sum(it.numel() for it in network.parameters()) == 1_761_676
    velocity = network(torch.zeros(3, 3, 64, 64), torch.rand(3), torch.zeros(3, 20, dtype=torch.long))
    assert velocity.shape == (3, 3, 64, 64)


def test_training_lowers_the_loss(torch):
    from models.shapes.train import Schedule, Training

    losses = list(Training(Schedule(steps=40, batch=4)).run())
    assert np.mean(losses[-10:]) < 0.95 * np.mean(losses[:10])


def test_a_training_that_was_stopped_ends_like_one_that_was_not(torch, training, tmp_path):
    from models.shapes.train import Schedule, save, start

    whole, stopped = training(), training()
    losses = list(whole.run())
    first = [loss for _, loss in zip(range(2), stopped.run(), strict=False)]
    checkpoint = tmp_path / "checkpoint.pt"
    save(stopped, checkpoint)
    with pytest.raises(SystemExit, match="another --out"):
        start(Schedule(steps=5, batch=2), checkpoint)
    resumed = start(stopped.schedule, checkpoint)
    assert first + list(resumed.run()) == losses
    assert resumed.step == whole.step == 4
    for name, value in whole.average.items():
        assert torch.equal(value, resumed.average[name]), name


def test_the_exported_file_answers_as_torch_does(training, tmp_path):
    pytest.importorskip("onnxscript", reason="it comes with models/shapes/requirements.txt")
    from models.shapes.export import LARGEST_DIFFERENCE, export, load

    trained = training()
    list(trained.run())
    path = tmp_path / "candidate.onnx"
    assert export(load(trained.state()), path) < LARGEST_DIFFERENCE
    candidate = evaluate.Candidate(path)
    candidate.load()
    asked = trials(frozenset())[0]
    assert evaluate.Draughtsman(candidate, {"steps": 1})(asked).shape == (64, 64, 3)
