"""What becomes of texts on their way to tokens, counted, the first of each kind by file and line."""

from collections import Counter


class Tally:
    """What became of texts on their way to tokens: how often, and where first."""

    def __init__(self) -> None:
        self.dropped: Counter[str] = Counter()
        """What was left out, by reason."""
        self.noted: Counter[str] = Counter()
        """Completions that stayed, by what befell them; see ``Encoded.notes``."""
        self.first: dict[str, str] = {}
        """``file:line`` of the first, by reason, and why where a message says more."""

    def drop(self, reason: str, source: str, why: str = "") -> None:
        """Count something left out."""
        self.dropped[reason] += 1
        self.first.setdefault(reason, f"{source}: {why}" if why else source)

    def lines(self) -> list[str]:
        """A line for each reason: how often, and the first."""
        return [
            f"{reason}: {count}, first {self.first[reason]}"
            for reason, count in sorted((self.dropped + self.noted).items())
        ]

    def warnings(self) -> list[str]:
        """A line for each reason for which something was left out: how often, and the first."""
        return [
            f"{count} left out: {reason.replace('_', ' ')}, first {self.first[reason]}"
            for reason, count in sorted(self.dropped.items())
        ]

    def note(self, reason: str, source: str) -> None:
        """Count a completion that stayed."""
        self.noted[reason] += 1
        self.first.setdefault(reason, source)
