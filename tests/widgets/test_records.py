"""Records of the shipped model and of a baseline on a few embedded images, and their notebook."""

import base64
import os
import subprocess
import sys
from dataclasses import replace
from io import BytesIO

import nbformat
import numpy as np
import pytest
import torch
from PIL import Image

import la
from la.comparators.prototypes import Prototype
from la.comparators.raster import Raster
from la.data.embedded import synthetic
from la.data.sampling.geometry import Frame
from la.experiment.setup.measurements import Measurement
from la.experiment.setup.workbench import Workbench
from la.learn.device import to_device
from la.learn.evaluation import original_scores
from la.predict.prompts.strokes import rasterize
from la.predict.prompts.vector_prompts import from_json
from la.report.pages.freshness import NOTEBOOKS
from la.types import IGNORE, PromptKind
from la.widgets import PredictionViewer
from la.widgets.viewer.records import SIDE, affinity, plane, records

CELL = Measurement("quick", 0, 2, 1, 0, 6, tuple(PromptKind))
NUMBERS = (0, 2, 5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    return synthetic.write(home / "few", n_train=4, n_val=120, progress=False)


@pytest.fixture(scope="module")
def bench(folder):
    return Workbench(la.profile("quick"), folder, home=folder.parent)


@pytest.fixture(scope="module")
def model():
    return la.load("quick")


@pytest.fixture(scope="module")
def found(bench, model):
    return records(bench, CELL, NUMBERS, model)


def test_a_record_is_the_episode_of_that_number_with_the_models_own_prediction(bench, model, found):
    index = bench.data.test
    for number, record in zip(NUMBERS, found, strict=True):
        episode, picture = bench.episodes(CELL)[number], record.picture
        batch = bench.loader(index, CELL.fold)([episode])
        with torch.inference_mode():
            scores = original_scores(model(batch), batch, model.config)[0]
        assert picture.number == number
        assert picture.class_names == tuple(index.class_name(c) for c in episode.class_ids)
        assert picture.query.tobytes() == index.read_image(episode.query_id).tobytes()
        assert np.array_equal(picture.prediction, scores.argmax(0).numpy())
        assert np.array_equal(picture.target, batch.target[0].numpy())
        np.testing.assert_allclose(record.probabilities.sum(0), 1, atol=1e-5)
        assert np.array_equal(record.probabilities.argmax(0), picture.prediction)
        assert record.attention.shape == (len(episode.support_ids), SIDE, SIDE)
        assert record.prototypes.shape == (3, 2)


def test_a_bias_of_the_background_leaves_less_of_the_classes(bench, model, found):
    (plain, *_), (moved,) = found, records(bench, CELL, NUMBERS[:1], model, bias=1.5)
    kept = moved.picture.prediction > 0
    assert kept.sum() < (plain.picture.prediction > 0).sum()
    assert np.array_equal(moved.picture.prediction[kept], plain.picture.prediction[kept])


def test_the_viewer_takes_the_records_and_shows_the_worst_first(found):
    viewer = PredictionViewer(found)
    shown = [entry["iou"] for entry in viewer.table]
    assert shown == sorted(r.iou for r in found) and len(set(shown)) > 1
    assert len(viewer.episode["attention"]) == len(viewer.episode["images"]) - 1
    viewer.close()


def test_prompts_are_those_that_the_model_was_given(bench, found):
    loader = bench.loader(bench.data.test, CELL.fold)
    seen = set()
    for number, record in zip(NUMBERS, found, strict=True):
        episode = bench.episodes(CELL)[number]
        for example, drawn in zip(episode.examples, loader.draw(episode), strict=True):
            key = (example.support, example.row)
            own = [p for p in record.prompts if (p["img"], p["cls"]) == key]
            points = [p["pts"][0] for p in own if p["type"] == "point"]
            assert points == [xy for rows in drawn.points for xy in rows.tolist()]
            boxes = [sum(p["pts"], []) for p in own if p["type"] == "box"]
            assert boxes == [box.tolist() for box in drawn.boxes]
            masks = [p for p in own if p["type"] == "mask"]
            assert len(masks) == (drawn.mask is not None)
            if masks:
                assert np.array_equal(rasterize(from_json(masks), drawn.mask.shape), drawn.mask)
        types = {p["type"] for p in record.prompts}
        seen |= types
        assert record.kind == (types.pop() if len(types) == 1 else "mixed")
    assert len(seen) > 1


def test_the_affinity_is_the_cosine_to_the_mean_of_what_was_found(bench):
    episode = bench.episodes(CELL)[0]
    batch = to_device(bench.loader(bench.data.test, CELL.fold)([episode]), "cpu")
    side = bench.config.model.image_size
    frames = [Frame((side, side), side, "pad")] * (1 + len(episode.support_ids))
    cells = batch.source.query.shape[-1]
    prediction = np.zeros((side, side), int)
    prediction[: 2 * side // cells, : side // cells] = 2  # the cells (0, 0) and (1, 0)
    query, support = batch.source.query[0].numpy(), batch.source.support.numpy()
    everything = np.concatenate([query[None], support]).transpose(0, 2, 3, 1)
    mean = everything.reshape(-1, len(query)).mean(0)
    centre = (query[:, 0, 0] + query[:, 1, 0]) / 2 - mean
    wanted = np.zeros((len(support), cells, cells), np.float32)
    for s, y, x in np.ndindex(wanted.shape):
        cell = support[s, :, y, x] - mean
        wanted[s, y, x] = cell @ centre / np.linalg.norm(cell) / np.linalg.norm(centre)
    grown = frames[0].original_logits(torch.from_numpy(wanted)[None])
    grown = torch.nn.functional.interpolate(grown, (SIDE, SIDE), mode="bilinear")[0]
    got = affinity(batch, prediction, frames)
    np.testing.assert_allclose(got, grown.numpy(), atol=1e-4)
    assert not affinity(batch, np.zeros_like(prediction), frames).any()


def test_the_plane_keeps_the_distances_of_prototypes_that_lie_in_one():
    rows = torch.tensor([[0.0, 0, 0, 5], [3, 4, 0, 5], [0, 4, 0, 5]])
    flat = plane(rows)
    np.testing.assert_allclose(flat.mean(0), 0, atol=1e-9)
    for a, b in np.ndindex(3, 3):
        apart = float((rows[a] - rows[b]).norm())
        assert np.linalg.norm(flat[a] - flat[b]) == pytest.approx(apart)
    assert plane(rows[:1]).tolist() == [[0, 0]]


def test_a_method_without_weights_has_records_too(bench):
    config = bench.config.model
    segmenter = Prototype(Raster(config.image_size, config.mask_size))
    (record,) = records(bench, CELL, [1], segmenter)
    assert np.abs(record.prototypes).max() > 0
    assert (record.picture.target != IGNORE).any()


def test_a_model_of_another_backbone_is_refused(bench, model):
    other = replace(bench.config.model, image_size=2 * bench.config.model.image_size)
    wrong = replace(bench, config=replace(bench.config, model=other))
    with pytest.raises(ValueError, match="choose the profile that has the model's backbone"):
        records(wrong, CELL, [0], model)


@pytest.mark.slow
def test_the_notebook_shows_the_worst_episodes_where_no_kernel_runs(folder):
    home = folder.parent
    command = [sys.executable, "-m", "la", "run", "inspect_predictions", "--profile", "quick"]
    command += ["--data", str(folder), "--episodes", "6"]
    environment = os.environ | {"LA_HOME": str(home)}
    subprocess.run(command, env=environment, cwd=NOTEBOOKS.parent, check=True, capture_output=True)
    path = home / "results" / "quick@few" / "inspect_predictions.ipynb"
    assert path.stat().st_size < 1_000_000 and str(home) not in path.read_text()
    cells = nbformat.read(path, as_version=4).cells
    outputs = [o for c in cells if c.cell_type == "code" for o in c.outputs if "data" in o]
    (shown,) = [o for o in outputs if "image/png" in o.data]
    assert shown.data["text/plain"] == "PredictionViewer, live in JupyterLab: run this cell"
    picture = Image.open(BytesIO(base64.b64decode(shown.data["image/png"]))).convert("RGB")
    assert picture.width > 400 and np.asarray(picture).std() > 20
    assert not (home / "runs").exists()
