"""The batch that the tests of all comparators share."""

import pytest

from la.types import Batch
from tests.comparators.episodes import two_episodes


@pytest.fixture
def batch() -> Batch:
    """Two episodes with different numbers of classes and supports."""
    return two_episodes()
