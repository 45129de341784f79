"""The witness: an etcd outside the centres, by its JSON gateway. Each centre's worker keeps a key alive there.

Source: etcd v3 API over its gRPC gateway (keys and values in base64, leases by id; 3.4 and later serve it under /v3).
"""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Collection
from typing import Any

from orchestrator.errors import Unreadable
from orchestrator.model.view import WITNESS, Sight, View

TTL_S = 6
"""A centre whose worker did not renew its key for so long is not seen by the witness."""
ASK_S = 1.0


class WitnessAway(Unreadable):
    """No member of the witness answered, or it has no quorum."""


class Witness:
    """One etcd cluster. Blocking; a call tries its members one after the other, a second each."""

    def __init__(self, urls: Collection[str], estate: str) -> None:
        """`urls`: its members, http://HOST:PORT; `estate`: prefix of the keys."""
        self._urls = tuple(url.rstrip("/") for url in urls)
        self._estate = estate
        self._lease = ""

    def keep_alive(self, centre: str) -> None:
        """Say that a centre's worker lives, for TTL_S from now.

        Raises:
            WitnessAway: it could not be said.
        """
        if self._lease and int(self._renewed().get("TTL", 0)) > 0:
            return
        self._lease = str(self._call("lease/grant", {"TTL": TTL_S})["ID"])
        words = {"key": _coded(self._key(centre)), "value": _coded("alive"), "lease": self._lease}
        self._call("kv/put", words)

    def views(self, centres: Collection[str]) -> tuple[View, ...]:
        """What it sees of centres, each of which is known to have had a worker; none where it does not answer."""
        try:
            prefix = self._key("")
            told = self._call("kv/range", {"key": _coded(prefix), "range_end": _coded(prefix[:-1] + chr(ord("/") + 1))})
        except WitnessAway:
            return ()
        alive = {base64.b64decode(kv["key"]).decode().removeprefix(prefix) for kv in told.get("kvs", ())}
        return tuple(
            View(
                observer=WITNESS, centre=centre, sight=Sight.SEEN if centre in alive else Sight.UNSEEN,
                why=f"its key is {'alive' if centre in alive else 'gone'}",
            )
            for centre in centres
        )  # fmt: skip

    def _key(self, centre: str) -> str:
        return f"drctl/{self._estate}/{centre}"

    def _renewed(self) -> dict[str, Any]:
        found = self._call("lease/keepalive", {"ID": self._lease}).get("result", {})
        assert isinstance(found, dict)
        return found

    def _call(self, what: str, words: dict[str, Any]) -> dict[str, Any]:
        """The first member's answer; a read is linearizable, so a member without a quorum does not answer."""
        problems = []
        for url in self._urls:
            request = urllib.request.Request(f"{url}/v3/{what}", json.dumps(words).encode(), method="POST")
            try:
                with urllib.request.urlopen(request, timeout=ASK_S) as answer:
                    found = json.loads(answer.read())
                    assert isinstance(found, dict)
                    return found
            except (urllib.error.URLError, OSError, ValueError) as error:
                problems.append(f"{url}: {error}")
        raise WitnessAway(f"the witness does not answer ({'; '.join(problems)})")


def _coded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
