"""A file in COCO's instance format, from bytes to its three lists."""

import json
from pathlib import Path
from typing import Any

import msgspec

from la.errors import UserError

LISTS = ("images", "annotations", "categories")


def read_lists(raw: bytes, path: Path) -> dict[str, list[Any]]:
    """The content of a file, in which `LISTS` are lists.

    Raises:
        UserError: this is no JSON, or one of the lists is missing.
    """
    try:
        content = _decoded(raw)
    except UnicodeDecodeError as error:
        raise other_encoding(path, raw, error) from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON ({error}); download or export it again") from None
    for name in LISTS:
        if not (isinstance(content, dict) and isinstance(content.get(name), list)):
            raise UserError(
                f"{path} is not a COCO instance file: it has no list {name!r}; "
                "give an instances_*.json, or export the data in COCO's instance format"
            )
    return content


def other_encoding(path: Path, raw: bytes, error: UnicodeDecodeError) -> UserError:
    """The error about a file that is not in UTF-8."""
    before = raw[max(0, error.start - 20) : error.start].decode(errors="ignore")
    return UserError(
        f"{path} is not in UTF-8: byte {error.start}, after {before!r}, belongs to another "
        "encoding; convert the file, as with iconv -f latin1 -t utf-8, or export it again"
    )


def _decoded(raw: bytes) -> Any:
    """The JSON value in a file of UTF-8, -16 or -32.

    Raises:
        ValueError, RecursionError: this is no JSON.
    """
    try:
        return msgspec.json.decode(raw)  # takes half of the time
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return json.loads(raw)  # takes more forms, such as NaN and other encodings
