"""Conventions of measuring retrieval; scores of the same codes differ by several points with them.

Conventions are written as words joined by slashes, `stable/hits_in_top_k/skip`. Each word sets the
field it belongs to; a field without a word keeps its default.
"""

from dataclasses import dataclass, fields

from dsh_jax.retrieval.ranking import DENOMINATORS

CHOICES = {
    "ties": ("expected", "stable"),
    "denominator": DENOMINATORS,
    "without_relevant": ("zero", "skip", "skip_no_hit"),
}
_MEANING = {
    "expected": "the expectation under a uniformly random order of items at the same distance",
    "stable": "items at the same distance in the order of the database",
    "reachable": "mAP at k divides by min(k, relevant items in the database)",
    "all_relevant": "mAP at k divides by all relevant items in the database",
    "hits_in_top_k": "mAP at k divides by the relevant items found in the first k",
    "zero": "a query without a relevant item in the database counts 0",
    "skip": "a query without a relevant item in the database is left out of the mean",
    "skip_no_hit": "a query without a relevant item in the first k is left out of mAP at k, and "
    "counts 0 in the other measures; where ties decide whether it has one, it is weighted by the "
    "probability",
}


@dataclass(frozen=True)
class Conventions:
    """How ties, denominators and queries without a relevant item are treated.

    Attributes:
      ties: "expected": the expectation under a random order; "stable": the database's order, as a
        stable sort gives.
      denominator: of mAP at a cut; see `ranking.average_precision`. Most public hashing code
        uses "hits_in_top_k".
      without_relevant: whether a query without a relevant item in the database counts "zero" in the
        means of the ranked metrics or is left out ("skip"); "skip_no_hit": left out of mAP at k
        where no relevant item is in the first k, as much public hashing code does (`hits`).
    """

    ties: str = "expected"
    denominator: str = "reachable"
    without_relevant: str = "zero"

    def __post_init__(self) -> None:
        for field, choices in CHOICES.items():
            if getattr(self, field) not in choices:
                raise ValueError(f"{field} is one of {choices}, not {getattr(self, field)!r}")

    @property
    def name(self) -> str:
        """The conventions as words."""
        return "/".join(getattr(self, field.name) for field in fields(self))

    @property
    def rules(self) -> dict[str, str]:
        """What each word means."""
        return {word: _MEANING[word] for word in self.name.split("/")} | {
            "empty_ball": "precision within a radius that holds no item counts 0"
        }


def parse(words: str) -> Conventions:
    """Conventions from their words.

    Raises:
      ValueError: an unknown word, or two words for the same field.
    """
    chosen: dict[str, str] = {}
    for word in filter(None, words.split("/")):
        field = next((f for f, choices in CHOICES.items() if word in choices), None)
        if field is None or field in chosen:
            offered = "; ".join(f"{f}: {', '.join(c)}" for f, c in CHOICES.items())
            raise ValueError(
                f"conventions {words!r}: give at most one word of each of these, joined by '/': "
                f"{offered}"
            )
        chosen[field] = word
    return Conventions(**chosen)
