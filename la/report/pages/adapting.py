"""What LA gains if its decoder is adapted to the examples: the parts of the page `adapting`."""

from la.report.pages.gains import gains, in_words
from la.report.pages.studies import Study
from la.report.verdicts.finding import Finding

METHODS = ("la",)
WAYS = ("adapted", "unchanged")


def finding(study: Study) -> Finding:
    """The gain for each number of examples, in a sentence."""
    text = in_words(gains(study))
    return Finding(f"Adapting the decoder to the examples changes LA's IoU by {text}.")
