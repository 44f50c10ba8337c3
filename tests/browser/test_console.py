"""The console in a browser: live candles, our own fills, the halt, honesty about what is old."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect
from support.recorded import record_episode
from support.told_models import told_models
from support.world import World

from don.learning.trainings import PROGRESS, announced

TOKEN = "t0ken-of-the-browser-tests"
CHART = "[data-testid=candles]"

pytestmark = pytest.mark.browser


def read(page: Any, name: str) -> str:
    return str(page.locator(CHART).get_attribute(f"data-{name}"))


def until_changed(page: Any, name: str, before: str | None = None) -> str:
    """Wait until an attribute of the chart is another one."""
    before = read(page, name) if before is None else before
    page.wait_for_selector(f"{CHART}:not([data-{name}='{before}'])")
    return read(page, name)


def test_candles_move_and_fills_are_marked(console: Any, world: World) -> None:
    assert int(read(console, "bars")) >= 300
    assert int(read(console, "markers")) > 0
    until_changed(console, "close")  # the forming candle moves
    until_changed(console, "bars")  # it closes, and the next one forms
    newest = console.locator(".fills tbody tr").first
    first, known = str(newest.text_content()), len(world.fill_rows)
    while len(world.fill_rows) == known:
        until_changed(console, "close")
    newest.filter(has_not_text=first).wait_for()
    assert console.locator(".decisions li b").first.text_content().startswith("#")
    assert console.locator(".health .part > .dot.live").count() == 8


def test_a_symbol_can_be_chosen(console: Any) -> None:
    console.get_by_role("tab", name=re.compile("^XRP")).click()
    console.locator(".chart h2", has_text="XRP-USDT-PERP").wait_for()
    console.wait_for_selector(f"{CHART}[data-close^='0.']")
    console.get_by_role("tab", name=re.compile("^ETH")).click()
    console.locator(".chart h2", has_text="ETH-USDT-PERP").wait_for()


def test_halt_asks_for_the_token_once_and_shows_what_happened(console: Any, world: World) -> None:
    console.get_by_role("button", name="Halt", exact=True).click()
    console.get_by_label("Token").fill("wrong")
    console.get_by_role("button", name="Halt now").click()
    console.locator("dialog [role=alert]", has_text="the token is not the one").wait_for()
    console.get_by_label("Token").fill(TOKEN)
    console.get_by_label("Reason").fill("a test")
    console.get_by_role("button", name="Halt now").click()
    console.locator(".banner.red", has_text="Halted").wait_for()
    console.locator(".positions .empty", has_text="Flat").wait_for()
    kind, actor, reason, _ = world.commands[-1]
    assert (kind, actor, reason) == ("halt", "console", "a test")
    console.get_by_role("button", name="Resume", exact=True).click()
    assert console.get_by_label("Token").count() == 0  # this tab knows it now
    console.locator("dialog .resume").click()
    console.get_by_role("button", name="Halt", exact=True).wait_for()
    assert world.commands[-1][0] == "resume"


def test_the_data_page_shows_what_is_missing(console: Any) -> None:
    console.get_by_role("button", name="Data", exact=True).click()
    row = console.get_by_test_id("stream bars:1m SOL-USDT-PERP").first
    row.locator(".lost", has_text="1").wait_for()
    assert "41.67% gap" in row.locator("canvas").get_attribute("aria-label")
    box = row.locator("canvas").bounding_box()
    console.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + 5)
    console.locator("[role=tooltip]", has_text="600 bars missing").wait_for()
    console.locator(".gaps li", has_text="16 streams").click()  # shows that time
    console.locator(".spans [aria-pressed=true]", has_text="6h").wait_for()
    console.get_by_label("Channel").select_option("bars:1m")
    expect(console.get_by_test_id("stream books BTC-USDT-PERP")).to_have_count(0)
    console.get_by_role("button", name="Trade", exact=True).click()
    console.wait_for_selector(f"{CHART}[data-close]")


def test_books_stand_beside_the_account_and_limits_beside_their_use(console: Any) -> None:
    console.get_by_role("button", name="Books", exact=True).click()
    console.get_by_test_id("book trend").locator(".tag", has_text="active").wait_for()
    console.get_by_test_id("books-sum").get_by_text("sum equals the account's equity").wait_for()
    console.get_by_test_id("risk-state").get_by_text("active").wait_for()
    limit = console.get_by_test_id("limit Gross leverage")
    expect(limit.locator(".use")).to_have_text("0.50x")
    expect(limit.locator(".bound")).to_have_text("3.00x")
    expect(limit.locator(".bar").first).to_have_attribute("aria-label", "17% of the limit")
    console.get_by_test_id("unprotected").wait_for()


def test_a_canary_s_thousandths_are_no_zeros(
    console: Any, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = world.desk

    def desk() -> dict[str, Any]:
        told = whole()
        held = {"size": "0.001", "entry_price": 1, "mark": 1, "unrealized": "0", "notional": "1"}
        shadow = {**told["slots"][0], "book": "trial", "mode": "shadow", "share": 0.999}
        return told | {
            "positions": [{"symbol": "BTC-USDT-PERP", "weight": -0.0004, **held}],
            "targets": {"BTC-USDT-PERP": -0.000041},
            "books": told["books"] | {"pnl": told["equity"] / 100_000},
            "slots": [*told["slots"], shadow],
        }

    monkeypatch.setattr(world, "desk", desk)
    monkeypatch.setattr(world, "_trend", lambda symbol: 0.0004 / 3.5)
    row = console.locator(".positions tbody tr", has_text="BTC")
    expect(row.locator("td").nth(5)).to_have_text("\N{MINUS SIGN}0.040%")
    expect(row.locator("td").nth(6)).to_have_text("\N{MINUS SIGN}0.0041%")
    expect(console.locator(".figure", has_text="Leverage").locator("dd")).to_have_text("0.0004x")
    chips = console.locator(".decisions li").first.locator(".weights > span")
    expect(chips.filter(has_text="BTC")).to_have_text("BTC+0.040%")
    console.get_by_role("button", name="Books", exact=True).click()
    share = console.get_by_test_id("book trial").locator("td").nth(4)
    expect(share).to_have_text("\N{EN DASH}")  # a shadow has no part of the account
    expect(console.get_by_test_id("book trend").locator("td").nth(4)).to_have_text("100.0%")
    monkeypatch.undo()
    console.get_by_test_id("book trial").wait_for(state="detached")


def test_a_training_is_watched_while_it_runs(console: Any, world: World, tmp_path: Path) -> None:
    def line(n: int) -> str:
        row = {"iteration": n, "seconds": 1.0 * n, "eta_s": 60.0, "episode_return": {"mean": n / 9}}
        row["episode_bars"] = 720
        return json.dumps(row) + "\n"

    world.home = tmp_path
    console.get_by_role("button", name="Training", exact=True).click()
    console.locator(".runs .empty", has_text="No training is known").wait_for()
    chart = console.get_by_test_id("curve return")
    with announced(tmp_path, tmp_path / "out", name="ppo"):
        (tmp_path / "out").mkdir()
        with (tmp_path / "out" / PROGRESS).open("w") as file:
            for n in (1, 2):
                file.write(line(n))
                file.flush()
                console.wait_for_selector(f"[data-testid='curve return'][data-points='{n}']")
                # an axis goes from the first iteration to the last, and stays in its panel
                expect(chart.locator(".mark")).to_have_text([str(k + 1) for k in range(n)])
                last, box = chart.locator(".mark").last.bounding_box(), chart.bounding_box()
                assert last["x"] + last["width"] <= box["x"] + box["width"]
        console.locator(".curves .tag", has_text="running").wait_for()
        expect(chart.locator(".axis")).to_have_text("iteration")
        expect(console.get_by_test_id("curve kl")).to_have_count(0)  # where it was not measured
        expect(chart.locator("figcaption")).to_contain_text("in sample, while exploring")
        told = console.locator(".progress")
        expect(told.locator("dt")).to_contain_text(["Reward of an episode", "Episode"])
        expect(told.locator("dd").filter(has_text="720 bars")).to_have_count(1)
        expect(told).to_contain_text("not the P&L of the account")
        console.locator(".progress dd", has_text="0.2222").wait_for()
    console.locator(".curves .tag", has_text="done").wait_for()


def test_a_recorded_episode_is_shown_and_called_one(
    console: Any, world: World, tmp_path: Path
) -> None:
    world.home = tmp_path
    console.get_by_role("button", name="Episodes", exact=True).click()
    console.locator(".runs .empty", has_text="No episode is recorded").wait_for()
    record_episode(tmp_path / "episodes" / "trend.parquet")
    (tmp_path / "episodes" / "broken.parquet").write_bytes(b"no")
    console.wait_for_selector("[data-testid=episode-chart][data-markers]")
    assert int(console.get_by_test_id("episode-chart").get_attribute("data-markers")) > 4
    console.locator(".episode .tag", has_text="recorded episode, not trading").wait_for()
    facts = console.get_by_test_id("episode-facts")
    expect(facts).to_contain_text("equal in every step")
    expect(facts).to_contain_text(
        re.compile(r"Change\D+[\d.,]+ \D?[\d.]+%")
    )  # money and share of it
    expect(facts).to_contain_text(re.compile(r"Holding instead\D?[\d.]+%"))
    expect(console.get_by_test_id("episode trend.parquet")).to_contain_text("BTC, from 20")
    console.get_by_test_id("episode broken.parquet").locator(".tag", has_text="damaged").wait_for()


def test_models_are_told_with_what_they_were_worth_and_where_they_trade(
    console: Any, world: World
) -> None:
    def open_models() -> None:  # anew, so that nothing waits for the next question
        console.get_by_role("button", name="Trade", exact=True).click()
        console.get_by_role("button", name="Models", exact=True).click()

    open_models()
    console.locator(".models .empty", has_text="No model is in this state folder").wait_for()
    world.registry = told_models()
    try:
        open_models()
        live = console.get_by_test_id("model trend@1")
        expect(live.locator("td")).to_contain_text(
            ["trend@1", "canary", "", "canary trend.v1", "ppo", "4,096", "+12.0%", "1.50", "0.97",
             "\N{MINUS SIGN}8.0%", "better"]
        )  # fmt: skip
        expect(console.get_by_test_id("model trend@2")).to_contain_text("not evaluated")
        told = console.get_by_test_id("model-details")  # what trades is shown first
        expect(told).to_contain_text("don models promote trend@1 --from canary --reason")
        expect(console.get_by_test_id("model-answer")).to_contain_text("Yes: it made more.")
        expect(console.get_by_test_id("model-place")).to_contain_text("as canary, slot trend.v1")
        console.get_by_test_id("model trend@2").click()
        expect(console.get_by_test_id("model-history")).to_contain_text("rule: drawdown")
        expect(told).to_contain_text("don evaluate trend@2")
        console.get_by_label("deleted too").check()
        console.get_by_test_id("model trend@3").click()
        expect(console.get_by_test_id("model-history")).to_contain_text("of no use")
        expect(told).not_to_contain_text("promote")
        world.database_away = "the database is away"
        open_models()
        console.locator(".models [role=alert]", has_text="the database is away").wait_for()
    finally:
        world.registry, world.database_away = None, ""


def test_old_data_are_never_shown_as_current(console: Any, world: World) -> None:
    world.away = "the board does not answer"
    try:
        console.locator(".banner.amber", has_text="What is shown is old").wait_for()
        console.wait_for_selector(".app.old")
    finally:
        world.away = ""
    console.wait_for_selector(".link.live")
    assert console.locator(".app.old").count() == 0


def test_the_console_reconnects(console: Any) -> None:
    before = read(console, "close")
    console.evaluate("() => { for (const socket of sockets.splice(0)) socket.close(); }")
    console.wait_for_function("() => sockets.length > 0")
    console.wait_for_selector(".link.live")
    until_changed(console, "close", before)


def test_a_phone_shows_everything_without_scrolling_sideways(
    open_page: Callable[..., Any], url: str
) -> None:
    page = open_page(390, 844)
    page.goto(f"{url}/console/")
    page.wait_for_selector(f"{CHART}[data-close]")
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 390
    for name in ("Positions", "Open orders", "Fills", "Decisions", "Health"):
        box = page.get_by_role("region", name=name).bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 390, name
    assert page.get_by_role("button", name="Halt", exact=True).is_visible()
    for name in ("Books", "Models", "Training", "Episodes", "Data", "Trade"):
        page.get_by_role("button", name=name, exact=True).click()
        page.wait_for_selector(f".pages [aria-current]:has-text('{name}')")
        assert page.evaluate("() => document.documentElement.scrollWidth") <= 390, name


def test_the_docs_work_offline(open_page: Callable[..., Any], url: str) -> None:
    page = open_page()
    page.goto(f"{url}/docs")
    page.wait_for_selector(".opblock")
    assert page.locator(".opblock").count() >= 15
