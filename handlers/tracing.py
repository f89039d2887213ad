"""The headers that follow one request through many systems, handed back with its answer."""

from __future__ import annotations

import re
from collections.abc import Mapping

# What is not of these forms is not handed back: a header must not carry a stranger's line breaks or a novel.
_FORMS = {
    "X-Correlation-ID": re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}"),
    # W3C Trace Context, level 1: version 00 exactly, identifiers that are not all zeros.
    "traceparent": re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"),
}


def echoed(headers: Mapping[str, str]) -> dict[str, str]:
    """Those of `headers` (names in lower case) that the answer carries too."""
    found = {}
    for name, form in _FORMS.items():
        value = headers.get(name.lower(), "")
        if form.fullmatch(value):
            found[name] = value
    return found
