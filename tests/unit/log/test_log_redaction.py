"""Whatever is logged becomes plain JSON, and no secret in it can be read."""

import json
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr

from don.log.redaction import plain
from don.model.order import Side
from don.security.secrets import Secret

HIDDEN = "correct horse battery staple"


@dataclass(frozen=True, slots=True)
class Holder:
    inside: Any


class Model(BaseModel):
    inside: Any
    key: SecretStr = SecretStr(HIDDEN)


class Opaque:
    def __init__(self, inside: Any) -> None:
        self.inside = inside

    def __repr__(self) -> str:
        return f"Opaque({self.inside!r})"


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError("no representation")


SECRETS = st.one_of(
    st.builds(Secret, st.just(HIDDEN)), st.builds(SecretStr, st.just(HIDDEN)), st.builds(Broken)
)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(), st.decimals(),
    st.datetimes(), st.sampled_from(Side), st.builds(np.float32, st.floats(width=32)),
    st.just(np.array([1.0, np.nan])), SECRETS,
)  # fmt: skip
KEYS = st.one_of(st.text(), st.integers(), st.builds(Secret, st.just(HIDDEN)), st.tuples(SECRETS))
NESTED = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner),
        st.lists(inner).map(tuple),
        st.dictionaries(KEYS, inner),
        st.builds(Holder, inner),
        st.builds(lambda inside: Model(inside=inside), inner),
        st.builds(Opaque, inner),
        st.builds(Exception, inner),
        st.frozensets(st.builds(Secret, st.just(HIDDEN))),
    ),
    max_leaves=20,
)


@given(NESTED)
def test_no_secret_survives_and_all_is_json(value: Any) -> None:
    line = json.dumps(plain({"event": "x", "value": value}), allow_nan=False)
    assert HIDDEN not in line
    assert json.loads(line)["event"] == "x"


@given(NESTED)
def test_plain_values_stay_as_they_are(value: Any) -> None:
    once = plain(value)
    assert plain(once) == once


def test_values_read_well() -> None:
    event = {
        "size": Decimal("0.010"),
        "side": Side.BUY,
        "w": np.array([0.5]),
        3: {"k": Secret("a")},
    }
    assert plain(event) == {"size": "0.010", "side": "buy", "w": [0.5], "3": {"k": "***"}}


def test_too_much_is_cut_and_says_so() -> None:
    endless: list[Any] = []
    endless.append(endless)
    assert "…" in json.dumps(plain(endless), ensure_ascii=False)
    assert "(100000 characters)" in plain("x" * 100_000)
    assert plain(list(range(5_000)))[-1] == "… (5000 items)"
    assert plain({n: n for n in range(5_000)})["…"] == "5000 items"
