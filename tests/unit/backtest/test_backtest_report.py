"""Reports are whole, load nothing, and say what must be said; commands write them."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from don.backtest import BacktestConfig, BacktestResult, run
from don.backtest.files import save
from don.backtest.page import Page
from don.backtest.report import compare, report
from don.backtest.summary import summary
from don.cli.main import app
from don.errors import DataError, DonError
from don.performance import DAY_NS
from don.storage.research_notes import Notes


@pytest.fixture(scope="module")
def results() -> list[BacktestResult]:
    base = {"detail": "bars", "start": "2019-05-10T00:00:00Z", "end": "2019-05-16T00:00:00Z"}
    return [
        run(BacktestConfig.model_validate({**base, "policy": policy, "engine": engine}))
        for policy, engine in (
            ("hold", {}),
            ("inverse_volatility", {"risk": {"max_daily_loss": "0.000001"}}),
        )
    ]


def figures(html: str) -> dict[str, dict[str, object]]:
    found = re.search(r'<script type="application/json" id="figures">(.*?)</script>', html, re.S)
    assert found
    return json.loads(found[1].replace("<\\/", "</"))


def test_a_report_is_one_file_that_loads_nothing(results: list[BacktestResult]) -> None:
    html = report(results[0], draws=20)
    ours = html.replace(re.search(r"<script>/\*\*?.*?</script>", html, re.S)[0], "")
    assert not re.search(r"""(src|href)\s*=\s*["']|url\(|@import""", ours)
    assert html.count("Plotly.newPlot(id") == 1
    drawn = figures(html)
    assert set(drawn["fixed"]) == {"equity", "exposure", "costs", "symbols"}
    assert set(drawn["chosen"]["price"]) == {f.symbol for f in results[0].fills}
    for one in results[0].assumptions:
        assert one.topic in ours
    assert results[0].digest in ours


def test_a_halt_is_said_before_any_figure(results: list[BacktestResult]) -> None:
    html = report(results[1], draws=20)
    assert html.index("The desk halted at") < html.index('class="tiles"')
    assert "DAILY_LOSS" in html


def test_a_policy_named_as_a_benchmark_keeps_its_own_figures(results: list[BacktestResult]) -> None:
    for result in results:
        told = summary(result)
        columns = told["performance"]
        own = float(result.books.equity / result.books.deposits) - 1
        assert columns[result.policy]["total_return"] == pytest.approx(own, rel=1e-9)
        assert f"{result.policy} (benchmark)" in columns and len(columns) == 4
        assert f"{result.policy} (benchmark)" in report(result, draws=20)
    assert summary(results[0])["halted"] == ""
    assert "DAILY_LOSS" in summary(results[1])["halted"]


def test_two_runs_stand_side_by_side(results: list[BacktestResult]) -> None:
    html = compare(*results, draws=20)
    assert "A: hold" in html and "B: inverse_volatility" in html
    assert "engine.risk.max_daily_loss" in html and "different data" not in html


def test_a_run_of_days_is_not_told_as_a_year(results: list[BacktestResult]) -> None:
    html = report(results[0], draws=20)
    tiles = html[html.index('class="tiles"') : html.index('id="equity"')]
    assert "The run lasts 6 days" in html and "not told of 6 days" in tiles
    assert "mean equity, in 6 days" in tiles and "mean equity, a year" not in tiles
    row = re.search(r"<td[^>]*>CAGR</td>(.*?)</tr>", html, re.S)
    assert row and not re.search(r"\d", re.sub(r"<[^>]*>", "", row[1]))
    assert "turnover in the run" in compare(*results, draws=20)
    month = replace(results[0], end_ns=results[0].start_ns + 30 * DAY_NS)
    html = report(month, draws=20)
    assert "too short to be raised" not in html and "mean equity, a year" in html


def test_names_are_escaped() -> None:
    page = Page("a < b")
    page.table(["<i>"], [["<script>alert(1)</script>"]])
    page.warnings(["</div>"])
    html = page.html()
    assert "<script>alert" not in html and "<i>" not in html.split("</style>")[1][:400]


def test_commands_write_reports(
    results: list[BacktestResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DON_HOME", str(tmp_path / "home"))  # a backtest is counted there
    saved = save(results[0], tmp_path / "run")
    done = CliRunner().invoke(app, ["backtest", "report", str(saved), "--draws", "10", "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert Path(told["report"]).stat().st_size > 1_000_000
    made = tmp_path / "both.html"
    done = CliRunner().invoke(
        app, ["backtest", "compare", str(saved), str(saved), "-o", str(made), "--draws", "10"]
    )
    assert done.exit_code == 0 and made.exists()
    at_once = tmp_path / "new" / "report.html"
    done = CliRunner().invoke(
        app,
        ["backtest", "--detail", "bars", "--start", "2019-05-10", "--end", "2019-05-11",
         "--report", str(at_once), "--json"],
    )  # fmt: skip
    assert done.exit_code == 0 and json.loads(done.stdout)["report"] == str(at_once)
    assert "Backtest: momentum" in at_once.read_text()
    plain = CliRunner().invoke(
        app, ["backtest", "--detail", "bars", "--start", "2019-05-10", "--end", "2019-05-11"]
    )
    assert plain.exit_code == 0 and "The run lasts 1 day," in plain.output
    assert re.search(r"^annual_return +–", plain.output, re.M)
    assert re.search(r"^equity +[\d,]+\.\d\d$", plain.output, re.M)
    with Notes(tmp_path / "home").taken() as noted:
        begin, end = noted.notes[:2]
    assert begin.payload["kind"] == "backtest" and begin.payload["trials"] == 1
    assert end.payload["status"] == "done" and "BTC-USDT-PERP" in end.payload["lineage"]
    record = end.payload["metrics"]  # what its ratio is of
    assert record["days"] == record["returns"] / 48 and 40 < record["returns"] <= 48
    assert not Notes(tmp_path / "home").waiting()
    refused = CliRunner().invoke(app, ["backtest", "--detail", "bars", "--start", "2031-01-01"])
    assert isinstance(refused.exception, DonError) and "2031" in str(refused.exception)
    with Notes(tmp_path / "home").taken() as noted:  # it is told, and that nothing was looked at
        assert [one.payload.get("status") for one in noted.notes][-1] == "refused"
    absent = CliRunner().invoke(app, ["backtest", "report", str(tmp_path / "none.json")])
    assert isinstance(absent.exception, DataError)
