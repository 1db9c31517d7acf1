"""`make reproduce-table2 PROFILE=published-mae` with stand-ins for the authors' four models.

One command downloads them from a server on this machine that breaks off, as the hub may, and
renders the notebook. The stand-ins are small and have random weights.
"""

import json
from dataclasses import replace
from pathlib import Path

import torch

from la.data import download
from la.model import backbone
from la.model.label_anything import LabelAnything
from la.profiles import PUBLISHED, profile
from tests.file_server import Site
from tests.published_file import write_published
from tests.rehearsal import SIZE, start


def stand_ins(folder: Path) -> list[dict[str, bytes]]:
    """The files of each fold's model, by name; no two models have the same weights."""
    config = replace(
        profile(PUBLISHED).model,
        image_size=SIZE, mask_size=SIZE // 4, embed_dim=32, mlp_dim=64, logit_downsample=2,
    )  # fmt: skip
    models = []
    for fold in range(4):
        generator = torch.Generator().manual_seed(fold)
        model = LabelAnything.from_config(config, generator)
        model.backbone = backbone.empty_backbone(config)
        for value in model.backbone.state_dict().values():
            value.normal_(0, 0.05, generator=generator)
        write_published(model, folder / str(fold))
        models.append({path.name: path.read_bytes() for path in (folder / str(fold)).iterdir()})
    return models


def rehearse_published(folder: Path, data: Path, models: list[dict[str, bytes]]) -> Path:
    """Render table2 of published-mae on the COCO-format folder `data`; the path of the page.

    Raises:
        AssertionError: the command failed, or did not resume the download that broke off.
    """
    folder.mkdir()
    with Site() as site:
        for fold, files in enumerate(models):
            site.publish(download.PUBLISHED[fold], f"c{fold}" * 20, files)
        broken = f"/{download.PUBLISHED[2]}/resolve/{'c2' * 20}/model.safetensors"
        site.breaks[broken] = 1
        told = {"files": {}, "weights": {}, "reduced": True, "hub": site.url}
        (folder / "rehearsal.json").write_text(json.dumps(told))
        # The profile's own protocol drops small objects, which here are nearly all.
        done = start(
            folder, "run", "table2", "--profile", PUBLISHED, "-p", 'protocol="clean"',
            "--data", str(data), "--seeds", "0", "--episodes", "4",
        )  # fmt: skip
        assert done.end() == 0, done.said[-3000:]
        asked = [first for path, first in site.log if path == broken]
    assert len(asked) == 2 and asked[0] == 0 < asked[1], asked
    (page,) = (folder / "home" / "results").rglob("table2.ipynb")
    return page
