"""A paper profile from an empty folder to a rendered notebook: twelve images, random backbones.

Every stage is the command that a user types. The backbone lies in its authors' file format on a
local server that breaks the connection twice and sends one wrong file. At true sizes:

    python -m tests.rehearse paper-sam FOLDER [NOTEBOOK]

What is changed of a profile is written here, in `install`, which every process of the rehearsal
calls as it starts: so few steps and episodes that a CPU can do them, and, when `reduced`, small
images and backbones of one layer.
"""

import hashlib
import io
import json
import os
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import psutil

from la.model.backbones import backbone_spec
from la.profiles import profile as profile_of
from tests.commands import Command
from tests.file_server import Site
from tests.published_backbones import published_weights, small_dinov2, small_mae, small_sam

ROOT = Path(__file__).resolve().parent.parent
PHOTOS = Path(os.environ.get("LA_SHARED", ROOT.parent / "shared")) / "coco-real"
SIZE = 64  # of reduced images, pixels, or the next multiple of the patch
STEPS, EPISODES = 3, 5
PROFILES = (
    "paper-sam", "paper-mae", "paper-sam-short", "paper-mae-short", "dinov2", "published-mae",
)  # fmt: skip
SMALL = {"sam_vit_b": small_sam, "mae_vit_b": small_mae, "dinov2_small": small_dinov2}


def install() -> None:
    """Change this process's profiles and published files as the rehearsal's folder says."""
    from la import profiles
    from la.data import download
    from la.model.backbones import BACKBONES

    told = json.loads(Path(os.environ["LA_REHEARSAL"]).read_text())
    for name, changes in told["files"].items():
        download.FILES[name] = replace(download.FILES[name], **changes)
    for name, changes in told["weights"].items():
        spec = BACKBONES[name]
        BACKBONES[name] = replace(spec, weights=replace(spec.weights, **changes))
    download.HUB = told.get("hub", download.HUB)
    for name in PROFILES:
        paper = profiles.PROFILES[name]
        model = paper.model
        if told["reduced"]:
            model = replace(
                model, image_size=side(model.patch_size), mask_size=SIZE // 4, embed_dim=32,
                mlp_dim=64, logit_downsample=2,
            )  # fmt: skip
        profiles.PROFILES[name] = replace(
            paper,
            model=model,
            train=replace(paper.train, steps=STEPS, micro_batches=1),
            episodes=replace(paper.episodes, shapes=((4, 1, 1), (2, 2, 1), (1, 4, 1))),
            evaluation=replace(
                paper.evaluation, episodes=EPISODES, seeds=(0,), seen_episodes=EPISODES,
                validation_episodes=EPISODES,
                batch_size=1,
            ),
        )  # fmt: skip
    if told["reduced"]:
        for name, build in SMALL.items():
            BACKBONES[name] = replace(BACKBONES[name], build=build)


def side(patch_size: int) -> int:
    """Of reduced images, in pixels."""
    return -(-SIZE // patch_size) * patch_size


def start(folder: Path, *words: str) -> Command:
    """A command that rehearses in `folder`: each of its processes calls `install`."""
    folders = {
        "LA_REHEARSAL": str(folder / "rehearsal.json"),
        "LA_WEIGHTS": str(folder / "weights"),
        "LA_COCO": str(folder / "coco"),
    }
    changes = f"import os\n\nos.environ |= {folders | {'LA_CPU': '1'}}\n"
    changes += "import tests.rehearsal as r\n\nr.install()\n"
    return Command(folder / "home", list(words), changes=changes)


def twelve_images(annotations: Path, images: Path) -> dict[str, tuple[bytes, int]]:
    """COCO's archives by name, with their number of files, of the images with the most classes.

    Eight are the test images, so that five classes of every fold can be asked for.
    """
    content = json.loads(annotations.read_text())
    classes: dict[int, set[int]] = {}
    for a in content["annotations"]:
        if not a["iscrowd"]:
            classes.setdefault(a["image_id"], set()).add(a["category_id"])
    richest = sorted(classes, key=lambda i: (-len(classes[i]), i))[:12]
    parts = {"val2014": {*richest[::3], *richest[1::3]}, "train2014": {*richest[2::3]}}
    archives, described = {}, {}
    for name, ids in parts.items():
        chosen = [i for i in content["images"] if i["id"] in ids]
        kept = [a for a in content["annotations"] if a["image_id"] in ids]
        listed = [image | {"file_name": f"{image['id']:012}.jpg"} for image in chosen]
        raw = json.dumps(content | {"images": listed, "annotations": kept}).encode()
        described[f"annotations/instances_{name}.json"] = raw
        photos = {
            f"{name}/{i['id']:012}.jpg": (images / i["file_name"]).read_bytes() for i in chosen
        }
        archives[name] = _zip(photos), len(photos)
    return archives | {"annotations": (_zip(described), 2)}


def rehearse(
    profile: str,
    folder: Path,
    annotations: Path,
    images: Path,
    *,
    reduced: bool = False,
    in_stages: bool = True,
    notebook: str = "",
) -> dict[str, tuple[float, float]]:
    """Go from the empty `folder` to a notebook; (seconds, peak MB) of each command.

    Args:
        in_stages: a command for each stage; else the notebook's, which does them all.
        notebook: rendered at the end; "" for none.

    Raises:
        AssertionError: a command failed, or the bad line went unnoticed.
    """
    spec = backbone_spec(profile_of(profile).model.backbone)
    what = spec.weights.fetch_name
    archives = twelve_images(annotations, images)
    weights = published_weights(spec.name, side(spec.patch_size) if reduced else None)
    folder.mkdir()
    spent: dict[str, tuple[float, float]] = {}

    def la(stage: str, command: str, *words: str) -> str:
        started, peak = time.perf_counter(), 0.0
        words = words if command == "fetch" else ("--profile", profile, *words)
        running = start(folder, command, *words)
        while running.process.is_alive():
            peak = max(peak, _megabytes(running.process.pid))
            running.process.join(0.2)
        status = running.end()
        spent[stage] = time.perf_counter() - started, peak
        assert status == 0, f"{stage}: {running.said[-3000:]}"
        return running.said

    with Site() as site:
        files = {}
        for name, (body, n) in archives.items():
            files[name] = {
                "url": f"{site.url}/{name}.zip",
                "size": len(body),
                "checksum": f"sha256:{hashlib.sha256(body).hexdigest()}",
                "files": n,
            }
            site.files[f"/{name}.zip"] = body
        site.files[f"/{what}.zip"] = weights
        changes = {
            "url": f"{site.url}/{what}.zip",
            "size": len(weights),
            "sha256": hashlib.sha256(weights).hexdigest(),
        }
        told = {"files": files, "weights": {spec.name: changes}, "reduced": reduced}
        (folder / "rehearsal.json").write_text(json.dumps(told))
        site.breaks[f"/{what}.zip"], site.corrupt["/val2014.zip"] = 2, 1
        if in_stages:
            assert "Would stop it first: COCO is not complete" in la("plan", "plan")
            la("fetch backbone", "fetch", what)
            la("fetch coco", "fetch", "coco")
            assert "train: 4 images" in la("index", "data")
            la("features", "features")
            la("train", "train", "--method", "la")
            scored = la("evaluate", "evaluate", "--method", "la", "--episodes", str(EPISODES))
            assert 0 <= json.loads(scored.splitlines()[-1])["miou_star"] <= 1
        if notebook:
            la("notebook", "run", notebook, "--folds", "0")
            page = folder / "home" / "results" / profile / f"{notebook}.ipynb"
            assert any(cell.get("outputs") for cell in json.loads(page.read_text())["cells"])
        asked = [path for path, _ in site.log]
    assert asked.count(f"/{what}.zip") == 3 and asked.count("/val2014.zip") == 2, asked
    left = [p for pattern in ("*.part", "*.zip", ".writing-*") for p in folder.rglob(pattern)]
    assert not left, left
    return spent


def _megabytes(pid: int) -> float:
    """In use by a process and all that it has started."""
    try:
        process = psutil.Process(pid)
        return sum(p.memory_info().rss for p in (process, *process.children(True))) / 1e6
    except psutil.Error:  # one of them has just ended
        return 0.0


def _zip(entries: dict[str, bytes]) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as zipped:
        for name, body in entries.items():
            zipped.writestr(name, body)
    return held.getvalue()
