"""An HTML page that opens offline: one style, Plotly bundled once, tables and figures. Reads the
style and Plotly from their packages; otherwise pure.
"""

import json
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any

from don.errors import UsageError

_DRAW = """
const figures = JSON.parse(document.getElementById("figures").textContent);
const options = {responsive: true, displaylogo: false, modeBarButtonsToRemove: ["lasso2d", "select2d"]};
for (const [id, figure] of Object.entries(figures.fixed)) {
  Plotly.newPlot(id, figure.data, figure.layout, options);
}
for (const [id, choices] of Object.entries(figures.chosen)) {
  const pick = document.getElementById(id + "-pick");
  const draw = () => {
    const figure = choices[pick.value];
    Plotly.react(id, figure.data, figure.layout, options);
  };
  pick.addEventListener("change", draw);
  draw();
}
"""  # noqa: E501 a script has lines of its own


class Page:
    """Gathers parts in order; `html` is the whole document."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._parts: list[str] = []
        self._fixed: dict[str, Any] = {}
        self._chosen: dict[str, Any] = {}

    def heading(self, text: str, note: str = "") -> None:
        """Begin a section."""
        self._parts.append(f"<h2>{escape(text)}</h2>")
        if note:
            self._parts.append(f'<p class="note">{escape(note)}</p>')

    def title(self, text: str, under: Sequence[str]) -> None:
        """The first lines."""
        lines = "".join(f'<div class="soft">{escape(line)}</div>' for line in under)
        self._parts.append(f"<h1>{escape(text)}</h1>{lines}")

    def warnings(self, texts: Sequence[str]) -> None:
        """What must be read before anything else."""
        self._parts += [f'<div class="warning">{escape(text)}</div>' for text in texts]

    def tiles(self, tiles: Sequence[tuple[str, str, str]]) -> None:
        """Large figures: (name, figure, small print)."""
        self._parts.append(
            '<div class="tiles">'
            + "".join(
                f'<div class="tile"><span>{escape(name)}</span><b>{escape(value)}</b>'
                f"<span>{escape(small)}</span></div>"
                for name, value, small in tiles
            )
            + "</div>"
        )

    def table(
        self, columns: Sequence[str], rows: Sequence[Sequence[str]], *, kind: str = ""
    ) -> None:
        """A table; cells beginning with + or - (a minus sign) of `kind` "signed" are coloured.

        Lines of a cell behind its first are small print.
        """
        self._parts.append(f'<div class="scroll">{table(columns, rows, kind=kind)}</div>')

    def months(self, rows: Mapping[int, Sequence[float]], totals: Mapping[int, float]) -> None:
        """Monthly returns, a year a row, shaded by size."""
        names = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec Year".split()
        body = []
        for year, values in rows.items():
            cells = [_shaded(value) for value in values] + [_shaded(totals[year], bold=True)]
            body.append(f"<tr><td>{year}</td>{''.join(cells)}</tr>")
        head = "".join(f"<th>{name}</th>" for name in ["", *names])
        rows_html = "".join(body)
        self._parts.append(
            f'<div class="scroll"><table class="months"><tr>{head}</tr>{rows_html}</table></div>'
        )

    def figure(self, name: str, figure: Mapping[str, Any]) -> None:
        """A chart."""
        self._fixed[name] = figure
        height = figure["layout"]["height"]
        self._parts.append(f'<div id="{escape(name)}" style="height:{height}px"></div>')

    def choice(self, name: str, figures: Mapping[str, Mapping[str, Any]]) -> None:
        """One of several charts, chosen from a list."""
        if not figures:
            return
        self._chosen[name] = dict(figures)
        options = "".join(f"<option>{escape(key)}</option>" for key in figures)
        height = next(iter(figures.values()))["layout"]["height"]
        self._parts.append(
            f'<select id="{name}-pick" aria-label="symbol">{options}</select>'
            f'<div id="{name}" style="height:{height}px"></div>'
        )

    def folded(self, summary: str, inner: str) -> None:
        """HTML that is shown on demand."""
        self._parts.append(f"<details><summary>{escape(summary)}</summary>{inner}</details>")

    def html(self) -> str:
        """The document; it loads nothing from anywhere.

        Raises:
            UsageError: if Plotly is not installed.
        """
        data = json.dumps({"fixed": self._fixed, "chosen": self._chosen}, allow_nan=False)
        data = data.replace("</", "<\\/")
        style = files("don.backtest").joinpath("report.css").read_text()
        return (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{escape(self._title)}</title><style>{style}</style></head><body>\n"
            + "\n".join(self._parts)
            + f'\n<script type="application/json" id="figures">{data}</script>'
            f"\n<script>{_plotly()}</script>\n<script>{_DRAW}</script></body></html>\n"
        )


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, kind: str = "") -> str:
    """A table as HTML; see `Page.table`."""
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "".join(
        "<tr>" + "".join(_cell(cell, kind, n) for n, cell in enumerate(row)) + "</tr>"
        for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def preformatted(text: str) -> str:
    """Text as it stands, as HTML."""
    return f"<pre>{escape(text)}</pre>"


def _cell(text: str, kind: str, place: int) -> str:
    style = ""
    if kind == "text" and place:
        style = ' class="text"'
    elif kind == "signed" and place and text[:1] in ("+", "−"):
        style = ' class="good"' if text[0] == "+" else ' class="bad"'
    first, *more = (escape(line) for line in text.split("\n"))
    return f"<td{style}>{first}{''.join(f'<small>{line}</small>' for line in more)}</td>"


def _shaded(value: float, *, bold: bool = False) -> str:
    if value != value:
        return "<td></td>"
    strength = min(abs(value) / 0.2, 1.0) * 0.55
    color = f"rgba(26,152,80,{strength:.2f})" if value > 0 else f"rgba(215,48,39,{strength:.2f})"
    text = f"{value * 100:+.1f}".replace("-", "−")
    inner = f"<b>{text}</b>" if bold else text
    return f'<td style="background:{color}">{inner}</td>'


def _plotly() -> str:
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise UsageError("reports need plotly: install don with its dependencies") from error
    return str(get_plotlyjs()).replace("</script", "<\\/script")
