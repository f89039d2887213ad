import hashlib
import json

import pytest

from export.errors import VerificationError
from export.seal import GENERATOR_SEAL, REPORT_SEAL, UNSEALED, require_seal, seal, sealed_json

RECORD = {
    "text": "brackets [ 1 ], quotes \" and 'these', 猫",
    "imitation": f'"{REPORT_SEAL}": "{UNSEALED}"',
    "numbers": [1, 2.5, -3e-7],
    "rows": [[0.25, 0.5], [1.0, 2.0]],
    "empty": [],
    "names": ["a", "b"],
}


def test_the_digest_is_of_the_bytes_with_zeros_in_its_place() -> None:
    content = sealed_json(RECORD, REPORT_SEAL)
    digits = json.loads(content)[REPORT_SEAL]
    before = content.decode().replace(digits, "0" * 64).encode()
    assert hashlib.sha256(before).hexdigest() == digits
    require_seal(content, REPORT_SEAL)


def test_every_changed_byte_is_found() -> None:
    content = sealed_json(RECORD, REPORT_SEAL)
    for position in range(len(content)):
        for change in (0x01, 0x20, 0xFF):  # the last bit, upper and lower case, all bits
            changed = bytearray(content)
            changed[position] ^= change
            with pytest.raises(VerificationError):
                require_seal(bytes(changed), REPORT_SEAL)


@pytest.mark.parametrize(
    "change", [lambda b: b[:-1], lambda b: b + b"\0", lambda b: b[1:], lambda b: b"", lambda b: b * 2]
)
def test_what_is_missing_or_added_is_found(change) -> None:
    with pytest.raises(VerificationError):
        require_seal(change(sealed_json(RECORD, REPORT_SEAL)), REPORT_SEAL)


def test_the_message_tells_damage_from_a_file_that_never_had_a_seal() -> None:
    content = sealed_json(RECORD, REPORT_SEAL)
    with pytest.raises(VerificationError, match=r"damaged: its bytes have the SHA-256 \w{12}… and not"):
        require_seal(content.replace(b"2.5", b"2.6"), REPORT_SEAL)
    with pytest.raises(VerificationError, match="states no SHA-256 of its own"):
        require_seal(content, GENERATOR_SEAL)


def test_a_file_of_two_places_for_a_seal_is_not_sealed() -> None:
    twice = f'{{"{REPORT_SEAL}": "{UNSEALED}", "again": {{"{REPORT_SEAL}": "{UNSEALED}"}}}}'
    with pytest.raises(VerificationError, match="in 2 places"):
        seal(twice.encode(), REPORT_SEAL)


def test_json_keeps_its_content_and_its_numbers_on_one_line() -> None:
    content = sealed_json(RECORD, REPORT_SEAL)
    read = json.loads(content)
    assert {key: value for key, value in read.items() if key != REPORT_SEAL} == RECORD
    assert b"[0.25, 0.5]" in content
    assert content == sealed_json(dict(reversed(RECORD.items())), REPORT_SEAL)


def test_json_has_no_values_that_are_no_json() -> None:
    with pytest.raises(ValueError, match="JSON"):
        sealed_json({"x": float("nan")}, REPORT_SEAL)
