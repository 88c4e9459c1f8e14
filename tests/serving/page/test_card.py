"""`/models/card` tells what is known of a version."""

from __future__ import annotations

import httpx

from tests.serving.made_versions import MadeSource, bundle_of
from tests.serving.served import answering


def test_a_card_describes_the_version_that_is_asked_for() -> None:
    source = MadeSource(champion=1, challenger=2)
    with answering(source) as (address, _), httpx.Client(base_url=address) as client:
        card = client.get("/models/card", params={"model": "challenger"}).json()
        assert (card["model"], card["verdict"], card["kind"]) == ("reviewlm/2", "version 2", "ngram")
        assert card["vocabulary"] == {"unit": "word", "entries": bundle_of(2).vocabulary.size}
        assert sum(card["stars"]) == 1
        assert client.get("/models/card").json()["model"] == "reviewlm/1"
        assert client.get("/models/card", params={"model": "reviewlm/9"}).status_code == 404
