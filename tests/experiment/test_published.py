"""The authors' four models: each fold is scored by the model that never saw its classes."""

from dataclasses import replace

import pytest
import torch

import la
from la.data.download import published_folder, published_model
from la.data.embedded import synthetic
from la.model import backbone
from la.model.backbone import empty_backbone, file_sha256
from la.model.label_anything import LabelAnything
from la.report import tables
from tests.published_file import write_published
from tests.rehearsal import small_mae

SIDE = 64  # pixels


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """A folder with four small stand-ins in the authors' file format; each has its own weights."""
    monkeypatch.setattr(backbone, "_mae", small_mae)
    monkeypatch.setenv("LA_WEIGHTS", str(tmp_path / "weights"))
    config = replace(
        la.profile("published-mae").model,
        image_size=SIDE, mask_size=SIDE // 4, embed_dim=32, mlp_dim=64, logit_downsample=2,
    )  # fmt: skip
    for fold in range(4):
        generator = torch.Generator().manual_seed(fold)
        model = LabelAnything.from_config(config, generator)
        model.backbone = empty_backbone(config)
        for value in model.backbone.state_dict().values():
            value.normal_(0, 0.05, generator=generator)
        write_published(model, published_folder(tmp_path / "weights", fold))
    return tmp_path / "weights"


@pytest.fixture
def bench(weights, tmp_path):
    config = la.profile("published-mae")
    config = replace(
        config,
        model=replace(config.model, image_size=SIDE, mask_size=SIDE // 4),
        evaluation=replace(config.evaluation, episodes=6, seeds=(0,), batch_size=3),
    )
    folder = synthetic.write(tmp_path / "few", n_train=4, n_val=60, progress=False)
    return la.Workbench(config, folder, home=tmp_path)


def test_each_fold_is_scored_with_the_weights_of_that_fold(bench, weights):
    hashes = [file_sha256(published_model(weights, fold)) for fold in range(4)]
    assert len(set(hashes)) == 4
    for fold in range(4):  # one at a time: in this process, whose backbone is small
        wanted = tables.measurements("table2", "published-mae", folds=[fold], seeds=[0], episodes=6)
        wanted = [cell for cell in wanted if cell.method == "published"]
        results = la.compute(bench, "table2", wanted)
        assert {r.checkpoint_sha256 for r in results} == {hashes[fold]}
        assert all(r.measurement.fold == fold for r in results) and len(results) == len(wanted) > 0
