"""What a finding is, and the claims of the paper that findings judge."""

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["confirmed", "not confirmed", "unresolved", "not run"]


@dataclass(frozen=True)
class Claim:
    """What the paper says, where it says it, and the notebook that checks it."""

    text: str
    section: str
    page: str


ONE_CLASS = Claim(
    "LA is the best of the prototype methods for one class.", "4.3, Table 1", "table1"
)
SEVERAL_CLASSES = Claim(
    "LA is the best of all methods for several classes.", "4.3, Table 2", "table2"
)
MORE_CLASSES = Claim(
    "With several classes LA is ahead of the other methods at every N.", "4.3, Table 3", "table3"
)
PARTS = Claim(
    "Spatial convolutions matter most, and no part can be spared.", "4.4, Table 4", "table4"
)
PROMPTS = Claim("Masks work best, and other prompts a little less well.", "4.4, Table 5", "table5")
ONE_TRAINING = Claim("One training is enough for every N and K.", "1, 2.3", "curves")
TIME_OF_CLASSES = Claim(
    "The time of affinity methods grows faster with N than that of LA.", "2.3, 4.3", "curves"
)
MEMORY_OF_CLASSES = Claim(
    "The memory of affinity methods grows faster with N than that of LA.", "2.3, 4.3", "curves"
)
TIME_OF_EXAMPLES = Claim(
    "The time of affinity methods grows faster with K than that of LA.", "2.3, 4.3", "curves"
)
MEMORY_OF_EXAMPLES = Claim(
    "The memory of affinity methods grows faster with K than that of LA.", "2.3, 4.3", "curves"
)
FAMILIES = Claim(
    "With several classes prototype methods have the advantage over affinity methods.",
    "4.3, 5",
    "table3",
)
PROMPTS_USED = Claim(
    "LA segments the classes that the prompts of the support images show.", "3.1", "prompts_used"
)
CLAIMS = (
    ONE_CLASS,
    SEVERAL_CLASSES,
    MORE_CLASSES,
    PARTS,
    PROMPTS,
    ONE_TRAINING,
    TIME_OF_CLASSES,
    MEMORY_OF_CLASSES,
    TIME_OF_EXAMPLES,
    MEMORY_OF_EXAMPLES,
    FAMILIES,
    PROMPTS_USED,
)


@dataclass(frozen=True)
class Finding:
    """A sentence for the top of a page; notebooks show it in bold."""

    sentence: str
    claim: Claim | None = None  # None where the paper says nothing
    verdict: Verdict = "unresolved"
    interval: str = ""  # how sure the numbers behind the verdict are

    @property
    def markdown(self) -> str:
        """The sentence in bold, then the paper's claim with the verdict and its interval."""
        text = f"**{self.sentence}**"
        if self.claim:
            said = f"The paper's claim ({self.claim.section}): {self.claim.text}"
            text += f"\n\n{said} *Here: {self.verdict}*"
            text += f": {self.interval}." if self.interval else "."
        return text

    def _repr_markdown_(self) -> str:
        return self.markdown
