"""Headless Chromium on the console: skipped, with the reason, where there is none."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.world import World

from don.security.secrets import Secret
from serve.local import build_all, running
from serve.policies import DeskPolicies
from serve.settings import ServeConfig

TOKEN = "t0ken-of-the-browser-tests"
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    found = os.environ.get("DON_CHROMIUM") or shutil.which("chromium")
    if not found:
        pytest.skip("no Chromium here: install Debian's chromium or set DON_CHROMIUM to its path")
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=found, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def world() -> World:
    return World(history=300, length=1_800)


@pytest.fixture(scope="module")
def url(world: World) -> Iterator[str]:
    config = ServeConfig(rate_per_s=1_000, rate_burst=1_000)
    app = build_all(world, world, DeskPolicies(), Secret(TOKEN), config)
    with running(app, beside=lambda: world.run(0.5, ahead=150)) as address:
        yield address


class Watched:
    """A page that remembers what it asked for outside and which errors it met."""

    def __init__(self, browser: Any, url: str, width: int, height: int) -> None:
        self.context = browser.new_context(viewport={"width": width, "height": height})
        self.page = self.context.new_page()
        self.page.set_default_timeout(60_000)
        self.outside: list[str] = []
        self.errors: list[str] = []
        own = (url, url.replace("http", "ws"), "data:", "blob:")
        self.page.on(
            "request",
            lambda asked: None if asked.url.startswith(own) else self.outside.append(asked.url),
        )
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self._on_console)

    def _on_console(self, told: Any) -> None:
        # a refused token and a board that is away are answers, which the browser logs on its own
        if told.type == "error" and not re.search("status of (401|503)", told.text):
            self.errors.append(told.text)

    def check(self) -> None:
        assert self.outside == []
        assert self.errors == []


@pytest.fixture
def open_page(browser: Any, url: str) -> Iterator[Callable[..., Any]]:
    """Opens pages; afterwards none may have asked for anything outside or met an error."""
    pages: list[Watched] = []

    def open_one(width: int = 1440, height: int = 900) -> Any:
        pages.append(Watched(browser, url, width, height))
        return pages[-1].page

    yield open_one
    for watched in pages:
        watched.context.close()
    for watched in pages:
        watched.check()


@pytest.fixture(scope="module")
def shared(browser: Any, url: str) -> Iterator[Watched]:
    watched = Watched(browser, url, 1440, 900)
    # remember the sockets, so that a test can cut them as a lost network would
    watched.page.add_init_script(
        """const W = WebSocket; window.sockets = [];
        window.WebSocket = class extends W {
            constructor(...a) { super(...a); sockets.push(this); }
        }"""
    )
    watched.page.goto(f"{url}/console/")
    yield watched
    watched.context.close()


@pytest.fixture
def console(shared: Watched) -> Iterator[Any]:
    """The console on a desktop screen, live, on its first page."""
    shared.page.evaluate("() => { location.hash = ''; }")
    shared.page.wait_for_selector("[data-testid=candles][data-close]")
    shared.page.wait_for_selector(".link.live")
    yield shared.page
    shared.check()
