"""What users write is printed as it is: brackets and colons are no markup."""

from pathlib import Path

import pytest
from support.registered import exported

from don.cli import models as commands
from don.cli.output import console, err, out, print_pairs, table
from don.learning.registry import Registry
from don.storage.database import Database

pytestmark = pytest.mark.postgres

TEXTS = ("see [env.costs] and [/foo]", "[/x] as [red] said :smile:")


@pytest.fixture
def registry(
    database: Database, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Registry:
    """That of the state folder of the commands."""
    monkeypatch.setenv("DON_HOME", str(tmp_path))
    monkeypatch.setenv("DON_DATABASE_URL", database_url)
    return Registry(database, tmp_path / "models")


def test_a_reason_is_shown_as_it_was_given(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(out, "_width", 400)
    first, second = TEXTS
    registry.add(exported(tmp_path), who="[bold]", why=first)
    commands.promote("trend@1", why=second, to="", force=False, who="[/y]", as_json=False)
    assert "trend@1" in capsys.readouterr().out
    commands.history("trend", as_json=False)
    told = capsys.readouterr().out
    for text in (first, second, "[bold]", "[/y]"):
        assert text in told
    commands.show("trend@1", as_json=False)
    assert first in (told := capsys.readouterr().out) and second in told
    commands.show_all("", deleted=False, as_json=False)
    assert "trend@1" in capsys.readouterr().out


@pytest.mark.parametrize("text", TEXTS)
def test_nothing_that_is_printed_is_markup(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    out.print(text, soft_wrap=True)
    print_pairs({"why": text})
    wide = console(200)
    wide.print(table((text, "n#"), [[text, 1]], title=text))
    err.print(text, soft_wrap=True)
    printed = capsys.readouterr()
    assert printed.out.count(text) == 5 and printed.err == f"{text}\n"
