"""Which settings of a table the user's data allow, checked before anything is computed.

N adapts to small data sets: where a fold has fewer classes than N, the largest N that all folds
allow replaces it.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace

from la.errors import UserError
from la.experiment.setup.measurements import Measurement
from la.experiment.setup.workbench import Workbench

log = logging.getLogger(__name__)


def drawable(bench: Workbench, measurements: Sequence[Measurement]) -> list[Measurement]:
    """The measurements that the user's data allow, each once.

    A fold in which no class has K + 1 images is left out of K-shot settings. In the other folds N
    is lowered to the number of such classes, to the same N in all of them. Both are logged.

    Raises:
        UserError: nothing can be drawn.
    """
    measurements = in_distinct_folds(bench, measurements)
    settings = dict.fromkeys(m.one_episode for m in measurements)
    possible_ways = {setting: _possible_ways(bench, setting) for setting in settings}
    if possible_ways and not any(possible_ways.values()):
        for setting in settings:
            bench.episodes(setting)  # raises with the reason
    most_ways: dict[Measurement, int] = {}  # by setting without its fold
    for setting, n_ways in possible_ways.items():
        if n_ways == 0:
            log.warning("left out: %s of fold %d", setting.setting, setting.fold)
            continue
        of_folds = _of_all_folds(setting)
        most_ways[of_folds] = min(n_ways, most_ways.get(of_folds, n_ways))
    allowed: dict[Measurement, None] = {}
    lowered: dict[str, str] = {}
    for measurement in measurements:
        setting = measurement.one_episode
        if possible_ways[setting] > 0:
            possible = replace(measurement, n_ways=most_ways[_of_all_folds(setting)])
            allowed[possible] = None
            if possible != measurement:
                lowered[measurement.setting] = possible.setting
    for asked, instead in lowered.items():
        log.warning("too few classes have enough images for %s; %s replaces it", asked, instead)
    return list(allowed)


def in_distinct_folds(
    bench: Workbench,
    measurements: Sequence[Measurement],
) -> list[Measurement]:
    """The measurements of the first fold where the folds do not differ.

    Fewer than four classes make one fold, as all of them are trained and tested on in each, and
    so do classes that are held out by name.
    """
    folds = bench.distinct(dict.fromkeys(m.fold for m in measurements))
    return [m for m in measurements if m.fold in folds]


def _possible_ways(bench: Workbench, setting: Measurement) -> int:
    """The largest possible N up to that of the setting; 0 if no class has K + 1 images.

    The scalar is fitted on seen classes, so there must be as many of them. Exchanged supports
    need other classes than those of the episode.
    """
    n_ways = setting.n_ways
    for seen in (False, True):
        try:
            sampler = bench.sampler(
                setting.fold,
                (1, setting.k_shots),
                seen=seen,
                protocol=setting.protocol,
            )
        except UserError:  # no class has enough images
            return 0
        n_drawable = len(sampler.class_ids) - len(sampler.left_out(setting.k_shots))
        if setting.supports == "exchanged":
            n_drawable //= 2
        n_ways = min(n_ways, n_drawable)
    return n_ways


def _of_all_folds(setting: Measurement) -> Measurement:
    """A key that is equal for settings that differ only in their fold or their supports."""
    return replace(setting, fold=0, supports="own")
