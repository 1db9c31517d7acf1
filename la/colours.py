"""Class colours that colour-blind readers can tell apart (Okabe and Ito), and overlays."""

import numpy as np
from PIL import Image

OKABE_ITO = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#999999")
N_COLOURS = 255  # label maps are bytes, and 0 is background
LEVELS = np.arange(0, 256, 25)  # of red, green and blue
LIGHTNESS = (0.45, 0.9)  # of class colours, which stand out from dark and from light photographs
CONES_OF_RGB = np.array(
    [
        [0.4122, 0.2119, 0.0883],
        [0.5363, 0.6807, 0.2817],
        [0.0514, 0.1074, 0.6300],
    ]
)
OKLAB_OF_CONES = np.array(
    [
        [0.2105, 1.9780, 0.0259],
        [0.7936, -2.4286, 0.7828],
        [-0.0041, 0.4506, -0.8087],
    ]
)


def _oklab(rgb: np.ndarray) -> np.ndarray:
    """sRGB in 0..255, (n, 3), as Oklab: lightness and two axes of colour.

    Distances between the rows of the result match perceived differences. B. Ottosson, "A perceptual
    color space for image processing", 2020.
    """
    linear = (rgb / 255) ** 2.2
    cones = linear @ CONES_OF_RGB
    return np.cbrt(cones) @ OKLAB_OF_CONES


def _palette() -> tuple[str, ...]:
    """Okabe and Ito's eight colours; each further one is the farthest from all before it."""
    okabe_ito = np.array([list(bytes.fromhex(colour[1:])) for colour in OKABE_ITO])
    axes = np.meshgrid(LEVELS, LEVELS, LEVELS)
    candidates = np.stack(axes, axis=-1).reshape(-1, 3)
    darkest, lightest = LIGHTNESS
    lightness = _oklab(candidates)[:, 0]
    is_moderate = (darkest < lightness) & (lightness < lightest)
    candidates = candidates[is_moderate]
    in_oklab = _oklab(candidates)
    offsets = in_oklab[:, None] - _oklab(okabe_ito)
    distances = np.linalg.norm(offsets, axis=2).min(1)
    colours = list(OKABE_ITO)
    while len(colours) < N_COLOURS:
        farthest = int(distances.argmax())
        red, green, blue = candidates[farthest]
        colours.append(f"#{red:02X}{green:02X}{blue:02X}")
        to_farthest = np.linalg.norm(in_oklab - in_oklab[farthest], axis=1)
        distances = np.minimum(distances, to_farthest)
    return tuple(colours)


PALETTE = _palette()


def colour(row: int) -> tuple[float, float, float]:
    """RGB in [0, 1] of foreground row 1, 2, ..., 255."""
    red, green, blue = bytes.fromhex(PALETTE[row - 1][1:])
    return red / 255, green / 255, blue / 255


def overlay(image: Image.Image, labels: np.ndarray, opacity: float = 0.6) -> Image.Image:
    """The image with a label map (H, W) blended over it; pixels of row 0 or below are darkened."""
    pixels = np.asarray(image.convert("RGB")) / 255
    rgb_of_row = np.zeros((1 + N_COLOURS, 3))
    for row in range(1, N_COLOURS + 1):
        rgb_of_row[row] = colour(row)
    rows = labels.clip(min=0)
    labelled = (1 - opacity) * pixels + opacity * rgb_of_row[rows]
    unlabelled = 0.75 * pixels
    blended = np.where(rows[..., None] > 0, labelled, unlabelled)
    return Image.fromarray((blended * 255).round().astype(np.uint8))


def palette_png(labels: np.ndarray) -> Image.Image:
    """A label map (H, W) as a palette image: index n is class n, in the colour of that class."""
    picture = Image.fromarray(labels.astype(np.uint8))
    black = bytes(3)
    colours = [bytes.fromhex(colour[1:]) for colour in PALETTE]
    picture.putpalette(black + b"".join(colours))
    return picture
