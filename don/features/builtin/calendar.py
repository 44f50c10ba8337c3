"""Kinds: calendar, funding and basis. Pure."""

from don.features import flow, kernels
from don.features.builtin.tables import Family
from don.features.columns import TIME

_c, _f = Family("calendar"), Family("funding")
_DAY, _WEEK = 86_400, 7 * 86_400
_MONDAY = 4 * _DAY  # the epoch was a Thursday
_YEAR = 31_557_600

for _name, _turn, _since, _what in (
    ("hour", _DAY, 0, "day"),
    ("weekday", _WEEK, _MONDAY, "week"),
    ("season", _YEAR, 0, "year"),
):
    _c.window(
        f"{_name}_sin",
        (),
        f"sine of the place of the close in the {_what}, UTC",
        flow.turn_sine,
        (TIME,),
        params=(_turn, _since),
        units="-1 to 1",
        formula=f"sin(2 pi t / {_what})",
    )
    _c.window(
        f"{_name}_cos",
        (),
        f"cosine of the place of the close in the {_what}, UTC",
        flow.turn_cosine,
        (TIME,),
        params=(_turn, _since),
        units="-1 to 1",
        formula=f"cos(2 pi t / {_what})",
    )
_c.window(
    "weekend",
    (),
    "1 on Saturdays and Sundays, UTC, else 0",
    flow.weekend,
    (TIME,),
    formula="weekday(t) >= Saturday",
    units="0 or 1",
)
_c.window(
    "us_session",
    (),
    "1 on weekdays from 13:30 to 20:00 UTC, else 0",
    flow.between,
    (TIME,),
    params=(48_600, 72_000),
    formula="13:30 < t <= 20:00, Monday to Friday",
    units="0 or 1",
)
_c.window(
    "funding_place",
    (8,),
    "share of the funding period of n hours that is over",
    flow.hours_place,
    (TIME,),
    bars=lambda p: 1,
    formula="(t mod n h) / n h",
    units="fraction",
)

_f.step(
    "funding",
    (),
    "funding rate of the running period",
    kernels.last,
    ("rate",),
    rings=0,
    formula="rate",
    units="fraction a period",
    source="exchange",
)
_f.window(
    "funding_mean",
    (72,),
    "mean funding rate, n bars",
    flow.mean,
    ("rate",),
    formula="mean(rate, n)",
    units="fraction a period",
)
_f.window(
    "funding_zscore",
    (168,),
    "funding rate less its mean, in standard deviations",
    flow.zscore,
    ("rate",),
    formula="(rate - mean) / std, n bars",
    units="standard deviations",
    smallest=2,
)
_f.window(
    "carry",
    (72,),
    "mean funding rate over volatility, n bars",
    flow.carry,
    ("rate", "close"),
    more=1,
    formula="mean(rate) / sqrt(mean(r^2))",
    units="ratio",
    source="after Koijen, Moskowitz, Pedersen, Vrugt 2018",
)
_f.step(
    "basis",
    (),
    "mark price over close, less 1",
    kernels.basis,
    ("mark", "close"),
    rings=0,
    formula="mark / close - 1",
)
_f.window(
    "basis_mean",
    (72,),
    "mean of mark price over close, less 1",
    flow.basis_mean,
    ("mark", "close"),
    formula="mean(mark / close - 1, n)",
)
_f.window(
    "basis_zscore",
    (168,),
    "basis less its mean, in standard deviations",
    flow.basis_zscore,
    ("mark", "close"),
    formula="(basis - mean) / std, n bars",
    units="standard deviations",
    smallest=2,
)
