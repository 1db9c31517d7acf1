"""The authors' four models: each fold is scored by the model that never saw its classes."""

from dataclasses import replace

import pytest

import la
from la.data.download import published_folder, published_model
from la.model.backbone import file_sha256
from la.model.backbones import BACKBONES, MAE
from la.report.scores import tables
from tests.published_backbones import small_mae
from tests.rehearsal import SIZE
from tests.rehearsal_published import stand_ins


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """A folder with four small stand-ins in the authors' file format; each has its own weights."""
    monkeypatch.setitem(BACKBONES, "mae_vit_b", replace(MAE, build=small_mae))
    monkeypatch.setenv("LA_WEIGHTS", str(tmp_path / "weights"))
    for fold, files in enumerate(stand_ins(tmp_path / "made")):
        folder = published_folder(tmp_path / "weights", fold)
        folder.mkdir(parents=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)
    return tmp_path / "weights"


@pytest.fixture
def bench(weights, few, tmp_path):
    config = la.profile("published-mae")
    config = replace(
        config,
        model=replace(config.model, image_size=SIZE, mask_size=SIZE // 4),
        evaluation=replace(
            config.evaluation, episodes=6, seeds=(0,), batch_size=3, seen_episodes=6
        ),
    )
    return la.Workbench(config, few(4, 60), home=tmp_path)


def test_each_fold_is_scored_with_the_weights_of_that_fold(bench, weights):
    hashes = [file_sha256(published_model(weights, fold)) for fold in range(4)]
    assert len(set(hashes)) == 4
    for fold in range(4):  # one at a time: in this process, whose backbone is small
        wanted = tables.measurements(
            "table2", "published-mae", folds=[fold], seeds=[0], episodes=6, protocol="clean"
        )
        wanted = [cell for cell in wanted if cell.method == "published"]
        results = la.compute(bench, "table2", wanted)
        assert {r.checkpoint_sha256 for r in results} == {hashes[fold]}
        assert all(r.measurement.fold == fold for r in results) and len(results) == len(wanted) > 0
