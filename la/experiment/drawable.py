"""Checks, before a run starts, which settings of a table the data allow."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace

from la.errors import UserError
from la.experiment.measurements import Measurement
from la.experiment.workbench import Workbench

log = logging.getLogger(__name__)


def check_drawable(bench: Workbench, measurements: Iterable[Measurement]) -> None:
    """Draw one episode of each setting, so that an impossible one stops the run at once.

    Raises:
        UserError: a setting cannot be drawn.
    """
    for setting in _settings(measurements):
        bench.episodes(setting)


def drawable(bench: Workbench, measurements: Sequence[Measurement]) -> list[Measurement]:
    """The measurements whose episodes the user's data allow; the others are logged.

    Raises:
        UserError: none can be drawn.
    """
    impossible: dict[Measurement, UserError] = {}
    settings = _settings(measurements)
    for setting in settings:
        try:
            bench.episodes(setting)
        except UserError as error:
            impossible[setting] = error
            log.warning("left out: %s of fold %d: %s", setting.setting, setting.fold, error)
    if len(impossible) == len(settings) > 0:
        raise next(iter(impossible.values()))
    return [m for m in measurements if _settings([m])[0] not in impossible]


def _settings(measurements: Iterable[Measurement]) -> list[Measurement]:
    """One measurement of one episode for each setting; method and seed do not matter."""
    settings = (replace(m, method="", seed=0, episodes=1) for m in measurements)
    return list(dict.fromkeys(settings))
