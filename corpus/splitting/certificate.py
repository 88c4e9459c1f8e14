"""Define the leak certificate: the comparisons between the splits of prepared data, and their results.

`corpus.splitting.leaks` writes certificates and compares data with them.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from core.errors import Damaged
from corpus.splitting.split import SPLITS

CERTIFICATE_FILE = "leak_certificate.json"
FORMAT = 1


@dataclass(frozen=True)
class CertifiedSplit:
    """One split: its reviews, the number of different texts, and the SHA-256 of the sorted text hashes."""

    reviews: int
    texts: int
    sha256: str


@dataclass(frozen=True)
class Certificate:
    """A record of the comparisons that found no leak.

    Args:
        sides: The sides by name of the split.
        test_digest: SHA-256 of the ids and texts of the test split, as in the facts of the prepared data.
        test_reviews: Digest of the ids, stars and sizes of the test split; scores use it to name the scored reviews.
        exact: `pairs` of texts of different splits that were compared (all of them), and `left`, which is 0.
        near: The same for near-duplicates, where `pairs` are those compared word by word. Also `shorter`, the number
            of texts with too few words to be near-duplicates, `common_passages`, the number of passages that too many
            texts share to compare them all, and the method with its parameters. None if near-duplicates were not
            searched.
        code: Version of this program.
        copies: By split, `groups` of reviews that repeat each other within it, and the number of these `reviews`. They
            are not a leak, but not independent evidence either.
    """

    sides: dict[str, CertifiedSplit]
    test_digest: str
    test_reviews: str
    exact: dict[str, int]
    near: dict[str, Any] | None
    code: str
    format: int = FORMAT
    copies: dict[str, dict[str, int]] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the certificate as JSON text with sorted keys."""
        return json.dumps(asdict(self), indent=2, sort_keys=True, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Certificate:
        """Return the certificate that `to_json` wrote.

        Raises:
            ValueError, TypeError, KeyError: The text is not a certificate.
        """
        values = json.loads(text)
        if values["format"] != FORMAT:
            raise ValueError(f"format {values['format']!r}; known is {FORMAT}")
        sides = {name: CertifiedSplit(**values["sides"][name]) for name in SPLITS}
        return cls(**{**values, "sides": sides})

    @property
    def digest(self) -> str:
        """SHA-256 of the certificate's text."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    @property
    def summary(self) -> str:
        """Summary of the certificate in one sentence."""
        counts = ", ".join(f"{name} {side.reviews:,}" for name, side in self.sides.items())
        if self.near is None:
            said = f"no text of one split is also in another ({counts}); near-duplicates were not looked for"
        else:
            inside = ", nor inside a longer one" if self.near.get("containment", "none") != "none" else ""
            said = (
                f"no text of one split is also in another, exactly or nearly{inside} ({counts}; "
                f"{self.near['pairs']:,} candidate pairs compared, {self.near['recall']:.1%} of pairs of similarity "
                f"{self.near['similarity']:g} are candidates)"
            )
            if common := self.near.get("common_passages", 0):
                said += f"; {common:,} passages that very many texts share were skipped"
        if test := self.copies.get("test", {}).get("reviews"):
            groups = self.copies["test"]["groups"]
            said += f"; within the test {test:,} reviews repeat another one, in {groups:,} group{'s' * (groups > 1)}"
        return said


def read(folder: Path) -> Certificate:
    """Return the certificate in a folder, without checking it against the data.

    Raises:
        Damaged: There is no certificate, or it cannot be read.
    """
    file = folder / CERTIFICATE_FILE
    try:
        return Certificate.from_json(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise Damaged(
            "There is no readable leak certificate", where=file, cause=f"{type(error).__name__}: {error}",
            remedy="run with --rebuild prepare",
        ) from error
