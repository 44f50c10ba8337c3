"""From views on the board and rows of the database to responses. Pure.

A view that does not fit its schema is left out and reported as a part that is stale: one actor's
mistake must not blind the console to all the others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeVar

from pydantic import ValidationError

from actors.board import Stamped
from don.clock import NS_PER_S
from serve.clocks import of_part
from serve.ports import Row
from serve.responses import Portfolio, State, Status
from serve.schemas import BarView, DeskView, MarketView, PartHealth, PartState, SessionView, View

HEALTH = "health:"
V = TypeVar("V", bound=View)


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """Everything on the board, checked."""

    session: SessionView
    desk: DeskView | None
    market: MarketView
    parts: tuple[PartHealth, ...]
    ages: Mapping[str, float]  # s since "desk", "market" were put; absent if they were not


def picture(views: Mapping[str, Stamped], now: int, stale_after_s: float) -> Picture:
    """Check the views and age them.

    Args:
        views: the board's.
        now: wall time, ns.
        stale_after_s: a part whose view is older is called stale, whatever it says itself.
    """
    broken: list[PartHealth] = []
    session = _parse(SessionView, "session", views, broken)
    desk = _parse(DeskView, "desk", views, broken)
    market = _parse(MarketView, "market", views, broken)
    ages = {key: _age(views[key], now) for key in ("desk", "market", "session") if key in views}
    parts = []
    for key in sorted(key for key in views if key.startswith(HEALTH)):
        part = _parse(PartHealth, key, views, broken)
        if part is None:
            continue
        age = _age(views[key], now)
        name = part.part or key.removeprefix(HEALTH)
        told = tuple(of_part(name, part.metrics, age))
        update: dict[str, object] = {"part": name, "age_s": age, "clocks": told}
        if age > stale_after_s and part.state is PartState.LIVE:
            update |= {"state": PartState.STALE, "detail": f"not heard from for {age:.0f} s"}
        parts.append(part.model_copy(update=update))
    return Picture(
        session=session or SessionView(),
        desk=desk,
        market=market or MarketView(),
        parts=(*parts, *broken),
        ages=ages,
    )


def _parse(
    cls: type[V], key: str, views: Mapping[str, Stamped], broken: list[PartHealth]
) -> V | None:
    if key not in views:
        return None
    try:
        return cls.model_validate(views[key].view)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(step) for step in first["loc"])
        detail = f"view {key!r} does not fit its schema: {where}: {first['msg']}"
        broken.append(PartHealth(part=f"view {key}", state=PartState.STALE, detail=detail))
        return None


def _age(held: Stamped, now: int) -> float:
    return round(max(0, now - held.ts_put) / NS_PER_S, 3)


def state_of(shown: Picture) -> State:
    """The worst that can be said in one word."""
    if shown.desk is None:
        return State.STARTING
    if shown.desk.halted:
        return State.HALTED
    ill = any(part.state in (PartState.STALE, PartState.DOWN) for part in shown.parts)
    return State.DEGRADED if ill or not shown.desk.reconciled else State.RUNNING


def status_of(shown: Picture) -> Status:
    """The session at a glance."""
    desk = shown.desk or DeskView()
    return Status(
        state=state_of(shown),
        session=shown.session.session or desk.session,
        policy=shown.session.policy or desk.policy,
        info=shown.session,
        desk=shown.desk,
        health={part.part: part for part in shown.parts},
        ages=dict(shown.ages),
    )


def portfolio_of(desk: DeskView) -> Portfolio:
    """The account with its leverage."""
    equity = Decimal(desk.equity)
    notionals = [Decimal(each.notional) for each in desk.positions if each.notional is not None]
    known = equity > 0
    return Portfolio(
        **desk.model_dump(include=set(Portfolio.model_fields) & set(DeskView.model_fields)),
        gross_leverage=float(sum(abs(n) for n in notionals) / equity) if known else None,
        net_leverage=float(sum(notionals) / equity) if known else None,
    )


def thin(points: Sequence[Row], limit: int) -> list[Row]:
    """At most `limit` points of an equity curve, with its ends and every bucket's extremes.

    Peaks and troughs survive, so that a drawdown computed from what is left is the true one.
    """
    if len(points) <= limit:
        return list(points)
    inner = points[1:-1]
    buckets = max(1, (limit - 2) // 2)
    kept: list[Row] = [points[0]]
    for n in range(buckets):
        bucket = range(n * len(inner) // buckets, (n + 1) * len(inner) // buckets)
        if bucket:
            low = min(bucket, key=lambda i: Decimal(str(inner[i]["equity"])))
            high = max(bucket, key=lambda i: Decimal(str(inner[i]["equity"])))
            kept.extend(inner[i] for i in sorted({low, high}))
    kept.append(points[-1])
    return kept


def merge_bars(bars: Sequence[BarView], interval_ns: int) -> list[BarView]:
    """Bars of a longer interval, oldest first; a part of one counts as what is there of it."""
    merged: list[BarView] = []
    for bar in bars:
        opened = bar.ts_open - bar.ts_open % interval_ns
        last = merged[-1] if merged else None
        if last is None or last.ts_open != opened:
            merged.append(bar.model_copy(update={"ts_open": opened}))
            continue
        merged[-1] = last.model_copy(
            update={
                "high": max(last.high, bar.high),
                "low": min(last.low, bar.low),
                "close": bar.close,
                "volume": last.volume + bar.volume,
            }
        )
    return merged
