"""A file in COCO's instance format, from bytes to its three lists."""

import json
from pathlib import Path
from typing import Any

import msgspec

from la.errors import UserError

LISTS = ("images", "annotations", "categories")
HEADER = 64  # bytes; those of pictures and models are not all text
COMPRESSED = {"gzip": b"\x1f\x8b", "zip": b"PK\x03\x04", "bzip2": b"BZh", "xz": b"\xfd7zXZ"}


def read_lists(raw: bytes, path: Path) -> dict[str, list[Any]]:
    """The content of a file, in which `LISTS` are lists.

    Raises:
        UserError: the content is not JSON, or one of the lists is missing.
    """
    try:
        content = _decoded(raw)
    except UnicodeDecodeError as error:
        raise not_utf8(path, raw, error) from None
    except (ValueError, RecursionError) as error:
        raise not_json(path, raw, error) from None
    for name in LISTS:
        if not (isinstance(content, dict) and isinstance(content.get(name), list)):
            raise UserError(
                f"{path} is not a COCO instance file: it has no list {name!r}; "
                "give an instances_*.json, or export the data in COCO's instance format"
            )
    return content


def not_json(path: Path, raw: bytes, error: Exception) -> UserError:
    """The error for a file that is empty, or that is not JSON."""
    fault = "empty" if not raw.strip() else f"not JSON ({error})"
    return UserError(f"{path} is {fault}; download or export it again")


def not_utf8(path: Path, raw: bytes, error: UnicodeDecodeError) -> UserError:
    """The error for a file that is compressed, or whose text is not in UTF-8."""
    for program, first_bytes in COMPRESSED.items():
        if raw.startswith(first_bytes):
            return UserError(
                f"{path} is compressed by {program}; unpack it, and give what it holds"
            )
    if b"\0" in raw[:HEADER]:
        return UserError(f"{path} does not hold text but bytes, as pictures do; give another file")
    before = raw[max(0, error.start - 20) : error.start].decode(errors="ignore")
    return UserError(
        f"{path} is not in UTF-8: byte {error.start}, after {before!r}, belongs to another "
        "encoding; convert the file, as with iconv -f latin1 -t utf-8, or export it again"
    )


def _decoded(raw: bytes) -> Any:
    """The JSON value in the bytes of a file in UTF-8, UTF-16 or UTF-32.

    Raises:
        ValueError, RecursionError: the content is not JSON.
    """
    try:
        return msgspec.json.decode(raw)  # twice as fast
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return json.loads(raw)  # also reads NaN, UTF-16 and UTF-32
