"""Prices of a service, and the bill."""

import pytest

from lad_reasoner.errors import InputError
from lad_reasoner.remote.prices import Bill, Prices, parse_prices


def test_prices_are_two_numbers() -> None:
    assert parse_prices("0.1,0.4") == Prices(0.1, 0.4)
    assert parse_prices(" 0, 2e3 ") == Prices(0.0, 2000.0)
    for text in ("", "cheap", "1", "1,2,3", "1;2", "-1,2", "1,-2", "nan,1", "1,nan", "inf,1"):
        with pytest.raises(InputError, match=r"give two numbers with a comma, such as 0\.1,0\.4"):
            parse_prices(text)


def test_bill() -> None:
    bill = Bill()
    bill.add(1000, 10, None)
    assert bill == Bill(1, 1000, 10, None)
    priced = Bill(cost=0.0)
    for _ in range(3):
        priced.add(1_000_000, 500_000, Prices(0.3, 2.5))
    assert (priced.answers, priced.input_tokens, priced.output_tokens) == (3, 3_000_000, 1_500_000)
    assert priced.cost == pytest.approx(3 * (0.3 + 1.25))
