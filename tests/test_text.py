"""Names, lists, numbers and places in words."""

from pydantic import BaseModel, ValidationError

from lad_reasoner.text import first_problem, listed, number_word, place_words, printable


def test_names_that_are_not_utf8_are_spelled_out() -> None:
    assert printable(b"caf\xe9.png".decode("utf-8", "surrogateescape")) == "caf\\udce9.png"


def test_a_list_names_some_and_counts_the_rest() -> None:
    assert listed(["a", "b"]) == "a, b"
    assert listed(list("abcdefghij")) == "a, b, c and 7 more"
    assert listed([1, 2, 3], limit=1, separator="; ") == "1 and 2 more"


def test_numbers_and_places() -> None:
    assert [number_word(number) for number in (0, 1, 12, 13)] == ["no", "one", "twelve", "13"]
    assert place_words(0.5, 0.5) == "centre"
    assert place_words(0.1, 0.9) == "lower left"
    assert place_words(0.99, 0.5) == "middle right"


class _Inner(BaseModel):
    count: int


class _Outer(BaseModel):
    inner: _Inner


def test_the_first_problem_names_field_and_fault() -> None:
    try:
        _Outer.model_validate({"inner": {"count": "secret"}})
    except ValidationError as error:
        problem = first_problem(error)
    assert problem.startswith("inner.count: Input should be a valid integer")
    assert "secret" not in problem
