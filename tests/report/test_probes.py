"""Probes of the prompt encoder: against loops, on planted episodes and on drawn images."""

from dataclasses import replace

import pandas as pd
import pytest
import torch
import torch.nn.functional as F

from la.experiment.setup.workbench import Workbench
from la.model.label_anything import LabelAnything
from la.profiles import profile
from la.report.verdicts.probes import (
    Embeddings,
    attention_on_objects,
    cosines,
    nearest_neighbour_accuracy,
    probe,
    probe_episodes,
    what_probes_show,
)
from la.types import PromptKind
from tests.conftest import fresh_model
from tests.model.planted import planted_batch

QUICK = profile("quick").model


def model_of(start: str) -> LabelAnything:
    return fresh_model(replace(QUICK, start=start))


def some_embeddings() -> Embeddings:
    vectors = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    class_ids = torch.tensor([1, 2, 1, 3, 2, 1])
    image_ids = torch.tensor([10, 10, 11, 11, 12, 13])
    return Embeddings(F.normalize(vectors, dim=1), class_ids, image_ids)


def test_cosines_of_pairs_are_those_of_loops():
    e = some_embeddings()
    sums: dict[str, list[float]] = {}
    for i in range(6):
        for j in range(6):
            same_image = e.image_ids[i] == e.image_ids[j]
            same_class = e.class_ids[i] == e.class_ids[j]
            if same_image and same_class:
                continue
            name = "other class, other image"
            if same_image:
                name = "two classes of one image"
            elif same_class:
                name = "same class, other image"
            sums.setdefault(name, []).append(float(e.vectors[i] @ e.vectors[j]))
    expected = {name: pytest.approx(sum(v) / len(v), abs=1e-6) for name, v in sums.items()}
    assert cosines(e) == expected


def test_the_nearest_neighbour_is_never_of_the_same_image():
    vectors = F.normalize(torch.tensor([[1.0, 0], [1, 0.1], [0, 1], [0.9, 0.2]]), dim=1)
    e = Embeddings(vectors, torch.tensor([1, 2, 2, 1]), torch.tensor([0, 0, 1, 2]))
    # 0 -> 3 (right), 1 -> 3 (wrong), 2 -> 3 (wrong), 3 -> 1 (wrong)
    assert nearest_neighbour_accuracy(e) == 0.25


def test_attention_of_the_agreeing_start_lies_on_the_object_and_of_the_usual_one_anywhere():
    batch = planted_batch(QUICK, 0, n_episodes=4)
    uniform = batch.objects.float().mean().item()
    agreeing = attention_on_objects(model_of("agreeing"), batch)
    usual = attention_on_objects(model_of("usual"), batch)
    assert len(agreeing) == len(usual) == 2
    assert agreeing[0] > 0.7 and usual[0] < 2.5 * uniform


@pytest.fixture(scope="module")
def bench(few, tmp_path_factory) -> Workbench:
    return Workbench(profile("smoke"), few(20, 40), tmp_path_factory.mktemp("home"))


def test_probe_episodes_prompt_every_unseen_class_of_an_image_once(bench):
    episodes = probe_episodes(bench, 0, PromptKind.BOX, n_images=5)
    assert len(episodes) == 5
    unseen = set(bench.classes(0, seen=False))
    index = bench.data.test
    for episode in episodes:
        (image_id,) = episode.support_ids
        row = int((index.image_ids == image_id).nonzero()[0][0])
        of_image = (index.annotation_image == row) & ~index.annotation_crowd
        shown = set(index.category_ids[index.annotation_category[of_image]].tolist())
        assert set(episode.class_ids) == shown & unseen
        assert [example.row for example in episode.examples] == [
            *range(1, len(episode.class_ids) + 1)
        ]
        assert all(example.kinds == (PromptKind.BOX,) for example in episode.examples)


def test_a_probe_has_a_row_per_model_and_the_start_shows_in_it(bench):
    models = {"usual": model_of("usual"), "agreeing": model_of("agreeing")}
    table = probe(bench, models, fold=0, n_images=20)
    attention = table["attention on the object"]
    assert attention.loc["usual", "uniform"] == attention.loc["agreeing", "uniform"]
    assert attention.loc["agreeing", "mask, layer 1"] > attention.loc["usual", "mask, layer 1"]
    assert table.loc["agreeing", ("1-NN", "accuracy")] <= 1
    assert not table.isna().any().any()


def test_the_finding_says_where_attention_lies_and_which_start_cannot_tell_classes_apart():
    columns = [
        ("attention on the object", "mask, layer 1"),
        ("attention on the object", "uniform"),
        ("cosine of embeddings", "two classes of one image"),
        ("1-NN", "accuracy"),
    ]
    values = {
        "usual start, untrained": [0.08, 0.07, 0.98, 0.11],
        "usual start, trained": [0.99, 0.07, 0.97, 0.10],
        "agreeing start, trained": [0.98, 0.07, 0.45, 0.72],
    }
    table = pd.DataFrame.from_dict(values, orient="index")
    table.columns = pd.MultiIndex.from_tuples(columns)
    sentence = what_probes_show(table).sentence
    assert sentence.startswith("Uniform attention would put 7 % on the masked object. After")
    assert "the agreeing start, 98 % of it is there" in sentence and "untrained" not in sentence
    assert "a cosine of 0.45, and 72 % of nearest neighbours" in sentence
    assert sentence.count("Attention finds the object there") == 1
    apart = what_probes_show(table.drop("usual start, trained")).sentence
    assert "Attention finds" not in apart
