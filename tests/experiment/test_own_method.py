"""A network of a reader's own: trained on the episodes of a fold, scored, and not stored."""

import pytest
import torch

import la
from la.comparators.learned import Adapter, Learned
from la.comparators.one_class import OneClassAtATime
from la.comparators.prototypes import SCALE, directions
from la.comparators.tokens import as_maps, tokens
from la.experiment.own_method import trained
from la.experiment.setup.measurements import Measurement
from la.experiment.setup.workbench import Workbench


class LearnedPrototypes(Learned):
    def __init__(self, config):
        super().__init__(config)
        self.adapter = Adapter(config.backbone_dim, config.embed_dim)

    def forward(self, batch):
        t = tokens(batch, self.raster, self.adapter)
        return as_maps(SCALE * t.query_hat @ directions(t), t, batch)


@pytest.fixture(scope="module")
def bench(few, tmp_path_factory):
    return Workbench(la.profile("smoke"), few(120, 60), home=tmp_path_factory.mktemp("home"))


def test_an_own_network_is_trained_for_the_steps_asked_for_and_leaves_no_run(bench):
    few = trained(bench, LearnedPrototypes, fold=0, steps=1)
    more = trained(bench, LearnedPrototypes, fold=0)
    again = trained(bench, LearnedPrototypes, fold=0)
    assert not few.training and not (bench.home / "runs").exists()
    weights = [model.adapter.refine.weight for model in (few, more, again)]
    assert weights[0].abs().sum() > 0  # it starts at 0
    assert torch.equal(weights[1], weights[2])
    assert not torch.equal(weights[0], weights[1])


def test_an_own_network_is_scored_and_wrapped_like_any_segmenter(bench):
    model = trained(bench, LearnedPrototypes, fold=0, steps=1)
    two_way = [Measurement("la", 0, 2, 1, 0, 4)]
    (plain,) = la.score(bench, "Mine", model, two_way)
    (wrapped,) = la.score(bench, "Mine by the rule", OneClassAtATime(model), two_way)
    assert plain.measurement.method == "Mine"
    assert plain.confusion.sum() == wrapped.confusion.sum() > 0
    # The rule compares foreground scores as one pass does; only background differs.
    foreground = [r.confusion[..., 1:].sum() for r in (plain, wrapped)]
    assert foreground[0] != foreground[1]
