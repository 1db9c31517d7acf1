"""Numbers with their nouns, and lists, for messages and sentences."""

from collections.abc import Collection, Sequence

SIBILANTS = ("s", "x", "ch", "sh")


def counted(number: int, noun: str) -> str:
    """A number with its noun in the right form, such as `1 test image` and `2 classes`."""
    return f"{number} {noun if number == 1 else plural(noun)}"


def are(number: int) -> str:
    """The verb for a number of things: `is` or `are`."""
    return "is" if number == 1 else "are"


def plural(noun: str) -> str:
    """The regular plural of an English noun; of several words the last one changes."""
    if noun.endswith(SIBILANTS):
        return f"{noun}es"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}s"


def numbered(noun: str, numbers: Collection[int]) -> str:
    """Which ones, such as `fold 0`; of several only how many, such as `4 folds`."""
    if len(numbers) == 1:
        return f"{noun} {next(iter(numbers))}"
    return counted(len(numbers), noun)


def listed(names: Sequence[str], most: int = 3) -> str:
    """The first names and how many more there are, such as `a, b, c and 2 more`."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
