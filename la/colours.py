"""Class colours that colour-blind readers can tell apart (Okabe and Ito), and overlays."""

import numpy as np
from PIL import Image

OKABE_ITO = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#999999")


def colour(row: int) -> tuple[float, float, float]:
    """RGB in [0, 1] of foreground row 1, 2, ...; they repeat after eight."""
    red, green, blue = bytes.fromhex(OKABE_ITO[(row - 1) % len(OKABE_ITO)][1:])
    return red / 255, green / 255, blue / 255


def overlay(image: Image.Image, labels: np.ndarray, opacity: float = 0.6) -> Image.Image:
    """The image with a label map (H, W) blended over it; rows of 0 and below have no colour."""
    pixels = np.asarray(image.convert("RGB")) / 255
    table = np.array([(0, 0, 0)] + [colour(r) for r in range(1, max(1, int(labels.max())) + 1)])
    shown = labels > 0
    pixels = np.where(shown, 1, 0.75)[..., None] * pixels  # unlabelled pixels are darkened
    painted = table[np.where(shown, labels, 0)]
    mixed = np.where(shown[..., None], (1 - opacity) * pixels + opacity * painted, pixels)
    return Image.fromarray((mixed * 255).round().astype(np.uint8))


def palette_png(labels: np.ndarray) -> Image.Image:
    """A label map (H, W) as a palette image: index n is class n, in the colour of that class."""
    picture = Image.fromarray(labels.astype(np.uint8))
    colours = [OKABE_ITO[n % len(OKABE_ITO)] for n in range(255)]
    picture.putpalette(bytes(3) + b"".join(bytes.fromhex(colour[1:]) for colour in colours))
    return picture
