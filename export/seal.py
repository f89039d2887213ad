"""A seal: a file states its own SHA-256, so that a change of any byte is found wherever the file has gone.

The digest is taken of all the file's bytes with the seal's own 64 digits set to zero, and is then written in their
place. It stands in whatever text the file's format has room for: the JSON of a generator's metadata, a comment at the
end of a zip archive, a JSON file itself. Because it covers bytes and no parsed content, there is nothing to be read
alike by two versions of a library, and no byte that means nothing to a parser is left out.

A seal finds damage. It is no signature: whoever changes a file on purpose can seal it again.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from export.errors import VerificationError

UNSEALED = "0" * 64
# A name for each kind of file: an archive holds generators, whose own seals must not be taken for the archive's.
GENERATOR_SEAL = "generator_seal"  # in the metadata's `provenance`
ARCHIVE_SEAL = "archive_seal"
REPORT_SEAL = "report_seal"

# An array of numbers, one to a line as `json.dumps` indents it. A JSON string holds no raw line break.
_INDENTED_NUMBERS = re.compile(r"\[\n\s*([^\[\]{}\"]*?)\n\s*\]")


def seal(content: bytes, name: str) -> bytes:
    """`content` with the digest in the place of its 64 zeros: the only `"<name>": "000…"` in it."""
    start, digits = _place(content, name)
    assert digits == UNSEALED.encode(), f"{name} is sealed already"
    return content[:start] + hashlib.sha256(content).hexdigest().encode() + content[start + len(UNSEALED) :]


def require_seal(content: bytes, name: str) -> None:
    """Raise VerificationError, in words that follow a file's name, unless `content` is what was sealed."""
    start, digits = _place(content, name)
    digest = hashlib.sha256(content[:start])
    digest.update(UNSEALED.encode())
    digest.update(content[start + len(UNSEALED) :])
    if digest.hexdigest().encode() != digits:
        raise VerificationError(
            f"damaged: its bytes have the SHA-256 {digest.hexdigest()[:12]}… and not the {digits.decode()[:12]}… that "
            "it states; copy or export it again"
        )


def sealed_json(record: Mapping[str, Any], name: str) -> bytes:
    """`record` as the text of a JSON file with a seal under the key `name`; equal records give equal bytes."""
    text = json.dumps({**record, name: UNSEALED}, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    text = _INDENTED_NUMBERS.sub(lambda found: f"[{' '.join(found[1].split())}]", text)
    return seal(f"{text}\n".encode(), name)


def _place(content: bytes, name: str) -> tuple[int, bytes]:
    """Where the seal's digits start, and they."""
    found = list(re.finditer(rb'"%b": "([0-9a-f]{64})"' % name.encode(), content))
    if not found:
        raise VerificationError(
            f"states no SHA-256 of its own ({name}): it is damaged at that place, was not written by `sngan export`, "
            "or by a version that sealed nothing; copy or export it again"
        )
    if len(found) > 1:
        raise VerificationError(f"states its own SHA-256 ({name}) in {len(found)} places; `sngan export` writes one")
    return found[0].start(1), found[0][1]
