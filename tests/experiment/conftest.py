"""A configuration whose trainings take about a second."""

from dataclasses import replace

import pytest

import la
from la.config import Config


@pytest.fixture(scope="session")
def short() -> Config:
    """The smoke profile with trainings of two steps, of two episodes each."""
    smoke = la.profile("smoke")
    return replace(
        smoke,
        episodes=replace(smoke.episodes, shapes=((2, 1, 1),)),
        train=replace(smoke.train, steps=2),
    )
