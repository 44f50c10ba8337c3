"""Numbers for people: short, never in powers of ten, and a zero is a zero."""

import json
import math
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal, localcontext

import numpy as np
import pytest

from don.cli.output import money, plain, price, print_json


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("100015.123456789012345", "100,015.12"), ("-3.005", "-3.00"), ("-0.5", "-0.5"),
        ("0.00000001234567", "0.00000001235"), ("0E-8", "0.00"), ("-0", "0.00"),
        ("1e30", "1" + ",000" * 10 + ".00"),
        ("-12345678.9", "-12,345,678.90"),
        (None, ""), ("NaN", "NaN"), ("away", "away"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("rounding", [ROUND_HALF_EVEN, ROUND_HALF_UP])
def test_amounts_are_told_to_the_cent_and_small_ones_to_four_digits(value, told, rounding) -> None:
    with localcontext(rounding=rounding):  # as other libraries leave it
        assert money(value) == told


def test_prices_have_eight_digits_and_sizes_all() -> None:
    assert price("6543.210000000") == "6543.21" and price("0.000012345678912") == "0.000012345679"
    assert price("123456789.5") == "123456790" and price("100") == "100" and price(None) == ""
    assert plain("-123456789.001000") == "-123456789.001" and plain("1E+3") == "1000"


def test_json_has_null_for_what_is_not_finite(capsys: pytest.CaptureFixture[str]) -> None:
    told = {"a": math.nan, "b": [(np.float32("inf"), 1.5)], "c": {"d": Decimal("NaN")}, "e": True}
    print_json([told, np.float64(-np.inf), np.int64(3), Decimal("0.10")])
    printed = capsys.readouterr().out
    assert "NaN" not in printed and "Infinity" not in printed
    assert json.loads(printed) == [
        {"a": None, "b": [[None, 1.5]], "c": {"d": None}, "e": True}, None, 3, "0.10"
    ]  # fmt: skip
