"""Shared builders: a small COCO-format folder, annotations of real photographs, a browser."""

import gc
import json
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # a core for each test process

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as rle

from la.config import ModelConfig
from la.data.coco.index import CocoIndex
from la.data.embedded import synthetic
from la.model.label_anything import LabelAnything
from la.predict.predictor import Predictor
from la.profiles import profile
from la.rng import stream
from la.types import ModelCard

REPOSITORY = Path(__file__).resolve().parent.parent
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
NEEDED = 4 * 10**9  # bytes that two processes of the whole suite write, at most


def pytest_sessionstart() -> None:
    """Stop before the first test on a full disk, where each browser waits for its time limit."""
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    if free < NEEDED:
        pytest.exit(
            f"{folder} has {free / 1e9:.1f} GB free, and the tests need {NEEDED / 1e9:.0f}; "
            "free some, or set TMPDIR to a folder on another disk",
            returncode=pytest.ExitCode.USAGE_ERROR,
        )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests of widgets in a browser come first, then the files with slow tests.

    Of both, the files with the fewest tests come first. These hold the longest tests, whole
    commands, so no worker is left alone with one of them at the end. pytest-xdist keeps this
    order under --no-loadscope-reorder; by default it begins with the files that have the most
    tests.
    """
    count = Counter(item.path for item in items)
    slow = {item.path for item in items if item.get_closest_marker("slow")}

    def place(item: pytest.Item) -> tuple[bool, bool, int]:
        is_of_browser = group_of(item.nodeid) == "browser"
        return not is_of_browser, item.path not in slow, count[item.path]

    items.sort(key=place)


def pytest_collection_finish() -> None:
    """Garbage collection leaves out what is loaded by now; it would look through it in vain."""
    gc.freeze()


@cache
def group_of(nodeid: str) -> str:
    """The file of a test, or "browser" for all files that test widgets in a browser."""
    path = nodeid.split("::")[0]
    is_of_widgets = path.startswith("tests/widgets/")
    text = (REPOSITORY / path).read_text(encoding="utf-8") if is_of_widgets else ""
    return "browser" if "mark.browser" in text else path


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log):
    """One worker has all tests of widgets in a browser: one Chromium, and one JupyterLab."""
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class BrowserApart(LoadFileScheduling):
        @property
        def nodes(self):
            """The workers; by default in the order in which they were ready."""
            return sorted(super().nodes, key=lambda node: node.gateway.id)

        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

    return BrowserApart(config, log)


def pytest_configure(config: pytest.Config) -> None:
    """The other workers give way to the first one, which measures what a reader waits for."""
    if getattr(config, "workerinput", {"workerid": "gw0"})["workerid"] != "gw0":
        os.nice(5)


@pytest.fixture(autouse=True)
def no_figure_is_held_by_pyplot() -> Iterator[None]:
    """Fails if pyplot still holds a figure, because a notebook would show it twice."""
    yield
    if pyplot := sys.modules.get("matplotlib.pyplot"):
        held = pyplot.get_fignums()
        pyplot.close("all")
        assert not held


def write_coco(folder: Path, *, n_images: int, class_ids: list[int], seed: int = 0) -> Path:
    """A COCO-format folder with overlapping ellipses of all sizes, some of them crowds.

    Images have different sizes and are often wider than high; class ids have gaps; image ids
    descend in the file. Returns the annotation file.
    """
    rng = stream(seed, "tiny coco")
    (folder / "images").mkdir(parents=True)
    (folder / "annotations").mkdir()
    images, annotations = [], []
    for image_id in range(5 * n_images, 0, -5):
        height, width = int(rng.integers(60, 90)), int(rng.integers(60, 110))
        noise = rng.integers(256, size=(height, width, 3), dtype=np.uint8)
        name = f"{image_id:06d}.png"
        Image.fromarray(noise).save(folder / "images" / name)
        images.append({"id": image_id, "file_name": name, "height": height, "width": width})
        for _ in range(int(rng.integers(2, 7))):
            centre = rng.random(2) * (height, width)
            radii = rng.uniform(2, 40, size=2)
            grid = (np.mgrid[:height, :width] - centre[:, None, None]) / radii[:, None, None]
            code = rle.encode(np.asfortranarray((grid**2).sum(0) <= 1, dtype=np.uint8))
            if not rle.area(code):
                continue
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": int(rng.choice(class_ids)),
                    "segmentation": {"size": [height, width], "counts": code["counts"].decode()},
                    "bbox": rle.toBbox(code).tolist(),
                    "area": int(rle.area(code)),
                    "iscrowd": int(rng.random() < 0.1),
                }
            )
    categories = [{"id": i, "name": f"class {i}"} for i in class_ids]
    content = {"images": images, "annotations": annotations, "categories": categories}
    path = folder / "annotations" / "instances_tiny.json"
    path.write_text(json.dumps(content))
    return path


def noise_photo(seed: int, size: tuple[int, int] = (40, 60)) -> Image.Image:
    """An image (H, W) of soft random colours."""
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize(size[::-1], Image.Resampling.BICUBIC)


def fresh_model(config: ModelConfig, seed: int = 0) -> LabelAnything:
    """Initial weights that depend on the seed alone, without a backbone, ready to predict."""
    return LabelAnything.from_config(config, torch.Generator().manual_seed(seed)).eval()


@pytest.fixture(scope="session")
def predictor() -> Predictor:
    """Of the quick architecture, with fresh weights."""
    return Predictor(fresh_model(profile("quick").model), ModelCard("fresh", "ab" * 32, "nothing"))


@pytest.fixture(scope="session")
def tiny_coco(tmp_path_factory) -> Path:
    """The annotation file of 40 small images with 8 classes."""
    folder = tmp_path_factory.mktemp("tiny") / "coco"
    return write_coco(folder, n_images=40, class_ids=[2, 3, 5, 7, 11, 13, 17, 19])


@pytest.fixture(scope="session")
def tiny_index(tiny_coco) -> CocoIndex:
    return CocoIndex.from_json(tiny_coco)


@pytest.fixture(scope="session")
def real_index(tmp_path_factory) -> CocoIndex:
    """325 photographs of COCO with 80 classes, or as many generated images if there are none."""
    shared = Path(os.environ.get("LA_SHARED", REPOSITORY.parent / "shared"))
    path = shared / "coco-real" / "annotations" / "instances_visible.json"
    if not path.exists():
        folder = tmp_path_factory.mktemp("real") / "coco"
        path = write_coco(folder, n_images=325, class_ids=[*range(1, 81)], seed=1)
    return CocoIndex.from_json(path)


@pytest.fixture(scope="session")
def few(tmp_path_factory) -> Callable[[int, int], Path]:
    """Writes the embedded data set with so many images a split, once; for tests that only read."""

    @cache
    def write(n_train: int, n_val: int) -> Path:
        folder = tmp_path_factory.mktemp("data") / "few"
        return synthetic.write(folder, n_train=n_train, n_val=n_val, progress=False)

    return write


@pytest.fixture(scope="session")
def features(tmp_path_factory) -> Path:
    """A cache that homes of several tests share, so that an image is encoded once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def home(features, tmp_path) -> Path:
    """A home of its own for runs and results, with the shared cache."""
    (tmp_path / "cache").symlink_to(features)
    return tmp_path


@pytest.fixture(scope="session")
def browser():
    """Chromium; without it the tests fail, unless LA_NO_BROWSER=1 says that this is wanted."""
    if os.environ.get("LA_NO_BROWSER") == "1":
        pytest.skip("LA_NO_BROWSER=1")
    found = [shutil.which(n) for n in ("chromium", "chromium-browser", "google-chrome")]
    path = next((p for p in found if p), None)
    if path is None:
        pytest.fail("no chromium on PATH: apt install chromium, or set LA_NO_BROWSER=1 to skip")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser):
    """A page that fails the test if a script in it raised."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page, errors = context.new_page(), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.set_default_timeout(60_000)
    yield page
    context.close()
    assert not errors
