"""Methods by name: what each changes in a profile, and the variants of Table 4."""

import pytest
import torch

from la.errors import UserError
from la.experiment.methods import METHODS, VARIANTS, label, method
from la.model.label_anything import LabelAnything
from la.profiles import ABLATIONS, profile

QUICK = profile("quick")


def test_every_method_is_either_trained_or_built():
    for name, entry in METHODS.items():
        assert (entry.configure is None) != (entry.build is None), name
        assert bool(entry.trains_as) == (entry.configure is not None), name
    assert len({entry.label for entry in METHODS.values()}) == len(METHODS)


def test_la_is_the_profile():
    assert METHODS["la"].configure(QUICK) == QUICK


def test_methods_that_share_a_training_have_one_configuration():
    for a in METHODS.values():
        for b in METHODS.values():
            if a.trains_as and a.trains_as == b.trains_as:
                assert a.configure(QUICK) == b.configure(QUICK)


@pytest.mark.parametrize("ablation", ABLATIONS)
def test_a_variant_changes_what_table_4_names_and_its_steps(ablation):
    config = VARIANTS[f"la {ablation}"].configure(QUICK)
    changed = {k for k, v in vars(config.model).items() if v != getattr(QUICK.model, k)}
    assert changed == set(ABLATIONS[ablation])
    assert config.train.steps == round(QUICK.train.steps * QUICK.evaluation.ablation_share)
    LabelAnything.from_config(config.model, torch.Generator().manual_seed(0))


def test_variants_have_folders_of_their_own_without_odd_characters():
    names = {variant.trains_as for variant in VARIANTS.values()}
    assert len(names) == len(VARIANTS)
    assert not set("".join(names)) - set("abcdefghijklmnopqrstuvwxyz0123456789-")


def test_an_unknown_name_is_its_own_label():
    assert label("la") == "LA" and label("my method") == "my method"


def test_every_method_with_scores_has_biases_and_its_raw_bias_among_them():
    without = {name for name, entry in METHODS.items() if not entry.biases}
    assert without == {"floor", "token_grid"}
    for name, entry in METHODS.items():
        assert not entry.biases or entry.raw_bias in entry.biases, name
        assert list(entry.biases) == sorted(entry.biases)


@pytest.mark.parametrize("name", ["mine", "la w/o Everything", "la+ complete"])
def test_an_unknown_method_is_refused_with_the_known_ones(name):
    with pytest.raises(UserError, match="no method .* known: la, "):
        method(name)
