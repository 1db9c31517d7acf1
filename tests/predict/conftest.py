"""Small photographs."""

from collections.abc import Callable

import pytest
from PIL import Image

from tests.conftest import noise_photo


@pytest.fixture
def photo() -> Callable[..., Image.Image]:
    """Makes an image of random colours: `photo(seed, (H, W))`."""
    return noise_photo
