"""A few embedded images and episodes of theirs, for what draws pictures of them."""

import pytest

import la
from la.config import PROTOCOLS
from la.data.coco.index import CocoIndex
from la.data.embedded import synthetic
from la.data.sampling.episodes import EpisodeSampler, episode_list
from la.data.sampling.loader import BatchLoader
from la.experiment.setup.workbench import Workbench
from la.model.label_anything import LabelAnything
from la.profiles import profile
from la.types import PromptKind


@pytest.fixture(scope="session")
def shipped() -> LabelAnything:
    """The model of the quick profile that comes with the package."""
    return la.load("quick").eval()


@pytest.fixture(scope="module")
def few_tests(few, tmp_path_factory) -> Workbench:
    """The smoke profile with 120 test images and hardly any other."""
    return Workbench(profile("smoke"), few(4, 120), home=tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def loader(tmp_path_factory) -> BatchLoader:
    folder = synthetic.write(
        tmp_path_factory.mktemp("data") / "set", n_train=8, n_val=60, progress=False
    )
    index = CocoIndex.from_json(folder / "annotations" / "instances_val.json")
    config = profile("quick")
    return BatchLoader(index, config.model, config.episodes, PROTOCOLS["clean"])


@pytest.fixture(scope="module")
def episodes(loader):
    ids = loader.index.category_ids.tolist()
    sampler = EpisodeSampler(loader.index, ids, PROTOCOLS["clean"], [(2, 1)])
    return episode_list(sampler, n_ways=2, k_shots=1, episodes=6, seed=0, kinds=tuple(PromptKind))
