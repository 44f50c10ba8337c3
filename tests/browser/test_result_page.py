"""The page of an evaluation in a browser: every rule it is compared with can be seen."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.evaluated import course

from don.evaluation.assess import Counted, assess
from don.evaluation.page import page

pytestmark = pytest.mark.browser

RULES = ("hold", "equal weight", "inverse volatility", "momentum", "mean-variance")
# each table that scrolls: its width, what is in it, where its first and last cells end
_TABLES = """() => [...document.querySelectorAll('.scroll')].map(box => {
    box.scrollLeft = 1e6;
    const at = box.getBoundingClientRect(), cells = box.querySelectorAll('tr:last-child > *');
    return {wide: box.clientWidth, whole: box.scrollWidth, left: at.left, right: at.right,
            first: cells[0].getBoundingClientRect().left,
            last: cells[cells.length - 1].getBoundingClientRect().right,
            shaded: getComputedStyle(box).backgroundImage.split('linear-gradient').length - 1};
})"""


def test_no_rule_is_cut_off(browser: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    base = {name: course(name, rng.normal(0, 0.02, 300)) for name in RULES}
    seeds = [course(f"ppo-model #{n}", rng.normal(-0.001, 0.02, 300)) for n in (1, 2, 3)]
    found = assess("3 models", seeds, base, Counted(trials=9), draws=20)
    file = tmp_path / "result.html"
    file.write_text(page(found, [*seeds, *base.values()], {}), encoding="utf-8")
    shown = browser.new_page()
    try:
        shown.goto(file.as_uri())
        for width, height in ((1440, 900), (390, 844)):
            shown.set_viewport_size({"width": width, "height": height})
            # charts follow a moment later
            shown.wait_for_function(
                "wide => document.documentElement.scrollWidth <= wide", arg=width
            )
            tables = shown.evaluate(_TABLES)
            assert len(tables) == 3
            for told in tables:
                assert told["last"] <= told["right"] + 1  # can be reached
                if told["whole"] > told["wide"]:  # it shows that there is more, and keeps names
                    assert width == 390 and told["shaded"] == 4
                    assert abs(told["first"] - told["left"]) < 1
            assert (tables[1]["whole"] > tables[1]["wide"]) is (width == 390)
    finally:
        shown.close()
