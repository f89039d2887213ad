"""The rules of the fields, one by one; and that whatever arrives is a request or a 4xx."""

from __future__ import annotations

import dataclasses
import json
import random
from typing import Any

import pytest

from handlers.body import read_fields
from handlers.checks import MAX_DETAILS
from handlers.errors import RequestError
from handlers.metadata import GeneratorMetadata
from handlers.request import FIELDS, MAX_Z, ImageRequest, request_from_fields

JSON = {"content-type": "application/json"}


def refused(fields: dict[str, Any], metadata: GeneratorMetadata) -> RequestError:
    with pytest.raises(RequestError) as caught:
        request_from_fields(fields, metadata)
    return caught.value


def test_nothing_means_one_image_of_a_drawn_seed(tiny_metadata: GeneratorMetadata) -> None:
    requests = [request_from_fields({}, tiny_metadata) for _ in range(4)]
    assert {(r.n, r.classes, r.truncation, r.format) for r in requests} == {(1, None, None, "png")}
    assert len({r.seed for r in requests}) > 1
    assert all(0 <= r.seed < 2**32 for r in requests)


def test_every_field_at_once(tiny_metadata: GeneratorMetadata) -> None:
    fields = {"class": "DOG", "n": 2, "seed": 2**32 - 1, "truncation": 2, "format": "json"}
    expected = ImageRequest(n=2, seed=2**32 - 1, classes=(1, 1), truncation=2.0, format="json")
    assert request_from_fields(fields, tiny_metadata, accept="text/html") == expected


@pytest.mark.parametrize(
    ("fields", "n", "classes"),
    [
        ({"class": 2}, 1, (2,)),
        ({"class": "frog"}, 1, (2,)),
        ({"class": [0, "Frog"]}, 2, (0, 2)),
        ({"class": "2"}, 1, (2,)),  # as a command line or a form has it
        ({"class": ["0", "Frog", 1]}, 3, (0, 2, 1)),
        ({"class": [1], "n": 3}, 3, (1, 1, 1)),
        ({"class": [0, 1, 2], "n": 3}, 3, (0, 1, 2)),
        ({"class": None, "n": 64}, 64, None),
    ],
)
def test_classes(
    fields: dict[str, Any], n: int, classes: tuple[int, ...] | None, tiny_metadata: GeneratorMetadata
) -> None:
    request = request_from_fields(fields, tiny_metadata)
    assert (request.n, request.classes) == (n, classes)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"class": 3}, "3 is out of range; allowed: an id 0 ... 2"),
        ({"class": -1}, "-1 is out of range"),
        ({"class": True}, "true is neither an id nor a name"),
        ({"class": 1.0}, "1.0 is neither an id nor a name"),
        ({"class": {}}, "an object is neither"),
        ({"class": [None]}, "null is neither"),
        ({"class": "dgo"}, 'did you mean "Dog"'),
        ({"class": "zebra"}, '"zebra" is no class of this model; allowed'),
        ({"class": "3"}, "3 is out of range; allowed: an id 0 ... 2"),
        ({"class": "9" * 65}, "is no class of this model"),
        ({"class": "-1"}, '"-1" is no class of this model'),
        ({"class": "1.0"}, '"1.0" is no class of this model'),
        ({"class": "²"}, '"²" is no class of this model'),
        ({"class": []}, "a list of 0 does not fit n = 1"),
        ({"class": [0, 1], "n": 3}, "a list of 2 does not fit n = 3"),
        ({"class": [0] * 65}, "a list of 65 does not fit"),
        ({"n": 0}, "0 is out of range; allowed: an integer, 1 ... 64"),
        ({"n": 65}, "65 is out of range"),
        ({"n": 10**400}, "an integer of 1329 bits is out of range"),
        ({"n": True}, "true is not an integer"),
        ({"n": "4"}, '"4" is not an integer'),
        ({"n": 4.0}, "4.0 is not an integer"),
        ({"n": None}, "null is not an integer"),
        ({"seed": -1}, "seed: -1 is out of range"),
        ({"seed": 2**32}, "4294967296 is out of range"),
        ({"seed": None}, "null is not an integer"),
        ({"truncation": 0}, "0 cannot be used; allowed: a number, 0 < t <= 2, or null"),
        ({"truncation": 2.001}, "2.001 cannot be used"),
        ({"truncation": 10**400}, "an integer of 1329 bits cannot be used"),
        ({"truncation": float("nan")}, "NaN cannot be used"),
        ({"truncation": float("inf")}, "Infinity cannot be used"),
        ({"truncation": True}, "true cannot be used"),
        ({"truncation": "1"}, '"1" cannot be used'),
        ({"format": "pgn"}, 'did you mean "png"'),
        ({"format": None}, "null is not known"),
        ({"format": ["png"]}, "a list of 1 is not known"),
    ],
)
def test_values_that_cannot_be_taken_are_422(
    fields: dict[str, Any], words: str, tiny_metadata: GeneratorMetadata
) -> None:
    error = refused(fields, tiny_metadata)
    assert (error.code, error.type) == (422, "InvalidField")
    assert words in error.message
    assert error.details[0].field in fields


@pytest.mark.parametrize(
    ("name", "hint"), [("clas", ', did you mean "class"?'), ("Seed", ', did you mean "seed"?'), ("zzz", "")]
)
def test_unknown_fields_are_400_with_the_nearest_name(name: str, hint: str, tiny_metadata: GeneratorMetadata) -> None:
    error = refused({name: 1, "n": 0}, tiny_metadata)
    assert (error.code, error.type) == (400, "UnknownField")
    assert error.details[0].reason == f"unknown field{hint}"
    assert error.details[0].allowed == ", ".join(FIELDS)


def test_all_that_is_wrong_is_said_at_once(tiny_metadata: GeneratorMetadata) -> None:
    error = refused({"class": 9, "n": 0, "seed": "x", "truncation": -1, "format": "x"}, tiny_metadata)
    assert {d.field for d in error.details} == {"class", "n", "seed", "truncation", "format"}
    many = refused({f"field{i}": 1 for i in range(100_000)}, tiny_metadata)
    assert len(many.details) == MAX_DETAILS
    assert "(and 99999 more, see details)" in many.message


def test_truncation_absent_null_and_given(tiny_metadata: GeneratorMetadata) -> None:
    metadata = dataclasses.replace(tiny_metadata, default_truncation=0.7)
    assert request_from_fields({}, metadata).truncation == 0.7
    assert request_from_fields({"truncation": None}, metadata).truncation is None
    assert request_from_fields({"truncation": 1}, metadata).truncation == 1.0


def test_uniform_latents_refuse_truncation_but_null(tiny_metadata: GeneratorMetadata) -> None:
    metadata = dataclasses.replace(tiny_metadata, latent_distribution="uniform")
    error = refused({"truncation": 1}, metadata)
    assert (error.code, error.details[0].allowed) == (422, "null, or leave it out")
    assert "latents are uniform" in error.message
    assert request_from_fields({}, metadata).truncation is None
    assert request_from_fields({"truncation": None}, metadata).truncation is None


def test_unconditional_models_refuse_a_class_but_null(tiny_metadata: GeneratorMetadata) -> None:
    metadata = dataclasses.replace(tiny_metadata, class_names=())
    for given in (0, "cat", "0", [0], []):
        error = refused({"class": given}, metadata)
        assert (error.code, error.message) == (
            422,
            "class: this model has no classes; allowed: null, or leave it out",
        )
    assert request_from_fields({"class": None}, metadata).classes is None


def test_names_that_differ_in_case_alone(tiny_metadata: GeneratorMetadata) -> None:
    metadata = dataclasses.replace(tiny_metadata, class_names=("a", "A", "b"))
    assert request_from_fields({"class": "A"}, metadata).classes == (1,)
    assert request_from_fields({"class": "B"}, metadata).classes == (2,)
    ambiguous = dataclasses.replace(tiny_metadata, class_names=("aa", "Aa", "b"))
    assert "fits 2 classes" in refused({"class": "AA"}, ambiguous).message


def test_digits_can_be_names(tiny_metadata: GeneratorMetadata) -> None:
    metadata = dataclasses.replace(tiny_metadata, class_names=("7", "8", "0", "cat"))
    assert request_from_fields({"class": ["8", "0", 1, "7", 0]}, metadata).classes == (1, 2, 1, 0, 0)
    # Whoever writes "1" here means a name that is not there, and must not get the class "8".
    assert '"1" is no class of this model' in refused({"class": "1"}, metadata).message
    padded = dataclasses.replace(tiny_metadata, class_names=("001", "002"))
    assert '"1" is no class of this model' in refused({"class": "1"}, padded).message


def test_a_thousand_classes_are_asked_for_by_id_and_by_name(tiny_metadata: GeneratorMetadata) -> None:
    names = tuple(f"species of bird {index}" for index in range(1000))
    metadata = dataclasses.replace(tiny_metadata, class_names=names)
    assert request_from_fields({"class": [999, "998", "SPECIES of bird 997"]}, metadata).classes == (999, 998, 997)
    error = refused({"class": ["specie of bird 42", "bird"] * 32}, metadata)
    assert 'did you mean "species of bird 42"' in error.message
    assert "(1000 classes)" in error.message
    assert len(error.details) == MAX_DETAILS
    # Only the first: the nearest of many names takes long to find, and others wait for the worker.
    assert sum("did you mean" in detail.reason for detail in error.details) == 1


Z = [[0.5] * 8, [-0.25] * 8]


def test_latents_come_instead_of_a_seed(tiny_metadata: GeneratorMetadata) -> None:
    metadata = dataclasses.replace(tiny_metadata, default_truncation=0.7)
    request = request_from_fields({"z": Z, "class": [1], "return_z": False}, metadata)
    assert (request.n, request.classes, request.truncation) == (2, (1, 1), None)
    assert request.z == ((0.5,) * 8, (-0.25,) * 8)
    assert request_from_fields({"z": [[0, 1, 2, 3, 4, 5, 6, MAX_Z]]}, metadata).n == 1
    assert request_from_fields({"z": Z[:1], "class": [2], "n": 1}, metadata).n == 1


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"z": Z, "n": 3}, "z: a list of 2 does not fit n = 3; allowed: a list of n lists of 8 numbers"),
        ({"z": Z, "class": [0, 1, 2]}, "a list of 3 does not fit n = 2"),
        ({"z": []}, "a list of 0 does not fit n = 1"),
        ({"z": [[0.0] * 8] * 65}, "a list of 65 does not fit n = 1"),
        ({"z": [0.0] * 8}, "entry 0 is 0.0"),
        ({"z": [[0.0] * 7]}, "entry 0 is a list of 7"),
        ({"z": [*Z, [0.0] * 7 + ["1"]]}, 'entry 2 holds "1"'),
        ({"z": [[True] * 8]}, "entry 0 holds true"),
        ({"z": [[None] * 8]}, "entry 0 holds null"),
        ({"z": [[float("nan")] * 8]}, "entry 0 holds NaN"),
        ({"z": [[1e308] * 8]}, "entry 0 holds 1e+308"),
        ({"z": [[10**400] * 8]}, "entry 0 holds an integer of 1329 bits"),
        ({"z": None}, "null does not fit"),
        ({"z": Z, "seed": 1}, "allowed: seed or z, not both"),
        ({"z": Z, "truncation": None}, "allowed: truncation or z, not both"),
        ({"return_z": 1, "format": "json"}, "1 is not a boolean; allowed: true, false"),
        ({"scale": 9}, "scale: 9 is out of range; allowed: an integer, 1 ... 8"),
        ({"padding": 33, "n": 2}, "padding: 33 is out of range"),
        ({"columns": 3, "n": 2}, "columns: 3 is out of range; allowed: an integer, 1 ... 2"),
        ({"quality": 0, "format": "jpeg"}, "quality: 0 is out of range"),
        ({"layout": "gird", "n": 2}, 'did you mean "grid"'),
        ({"image_format": "zip", "format": "json"}, '"zip" is not known'),
    ],
)
def test_values_of_the_other_fields(fields: dict[str, Any], words: str, tiny_metadata: GeneratorMetadata) -> None:
    error = refused(fields, tiny_metadata)
    assert (error.code, error.type) == (422, "InvalidField")
    assert words in error.message


@pytest.mark.parametrize(
    ("field", "value", "heeded", "ignored"),
    [
        ("return_z", True, [{"format": "json"}, {"format": "zip"}], [{}, {"format": "npy"}]),
        ("image_format", "webp", [{"format": "json"}, {"format": "zip"}], [{}, {"format": "npy"}]),
        (
            "quality", 50,
            [{"format": "jpeg"}, {"format": "webp"}, {"format": "zip", "image_format": "jpeg"}],
            [{}, {"format": "npy"}, {"format": "zip"}, {"format": "json", "image_format": "png"}],
        ),
        ("layout", "grid", [{}, {"format": "jpeg", "n": 3}], [{"format": "json"}, {"format": "npy"}]),
        ("layout", "single", [{}, {"n": 1}], [{"n": 2}, {"n": 1, "format": "zip"}]),
        ("columns", 1, [{"n": 2}, {"layout": "grid"}], [{}, {"n": 2, "format": "npy"}, {"layout": "single"}]),
        ("padding", 0, [{"n": 2}, {"layout": "grid"}], [{}, {"n": 2, "format": "json"}]),
        ("scale", 2, [{}, {"format": "npy"}, {"format": "json"}, {"n": 3}], []),
    ],
)  # fmt: skip
def test_a_field_that_would_have_no_effect_is_refused(
    field: str,
    value: Any,
    heeded: list[dict[str, Any]],
    ignored: list[dict[str, Any]],
    tiny_metadata: GeneratorMetadata,
) -> None:
    for others in heeded:
        assert getattr(request_from_fields({field: value, **others}, tiny_metadata), field) == value
    for others in ignored:
        error = refused({field: value, **others}, tiny_metadata)
        assert (error.code, error.details[0].field) == (422, field)


def test_what_an_answer_is_made_of(tiny_metadata: GeneratorMetadata) -> None:
    def made(**fields: Any) -> tuple[bool, str]:
        request = request_from_fields(fields, tiny_metadata)
        return request.is_grid, request.encoding

    assert made() == (False, "png")
    assert made(n=2, format="webp") == (True, "webp")
    assert made(layout="grid") == (True, "png")
    assert made(n=2, format="zip", image_format="jpeg") == (False, "jpeg")
    assert made(n=2, format="npy") == (False, "")


def test_the_field_beats_the_accept_header(tiny_metadata: GeneratorMetadata) -> None:
    assert request_from_fields({}, tiny_metadata, "application/json").format == "json"
    assert request_from_fields({"format": "png"}, tiny_metadata, "application/json").format == "png"
    assert request_from_fields({"format": "png"}, tiny_metadata, "text/html").format == "png"
    with pytest.raises(RequestError, match="Accept") as caught:
        request_from_fields({}, tiny_metadata, "text/html")
    assert caught.value.code == 406


def test_random_bodies_are_a_request_or_a_4xx(tiny_metadata: GeneratorMetadata) -> None:
    """A fixed stream of 3000 bodies, made of what breaks parsers."""
    source = random.Random(0)
    atoms: list[Any] = [
        None, True, 0, 1, 64, 65, -1, 2**32, 10**30, 0.5, 1e308, "", "cat", "\ud800", "\x00", "é" * 99,
        [], {}, [0, "Dog"], [[]], {"n": 1}, "class", "9" * 400,
    ]  # fmt: skip
    names = [*FIELDS, "Class", "", "\ud800", "latents"]
    codes = []
    for _ in range(3000):
        chosen = source.sample(FIELDS, source.randint(0, 3))
        chosen += source.sample(names[len(FIELDS) :], 1) * (source.random() < 0.1)
        text = json.dumps({name: source.choice(atoms) for name in chosen})
        if source.random() < 0.1:
            text = text[: source.randint(0, len(text))]
        try:
            request_from_fields(read_fields({"body": bytearray(text.encode())}, JSON), tiny_metadata)
            codes.append(200)
        except RequestError as error:
            codes.append(error.code)
            error.message.encode("utf-8")
    assert set(codes) == {200, 400, 422}
