"""The console: one Gradio page that holds the live view, fed by the API's stream. Builds an app.

Gradio serves the page; what must be live (chart, positions, fills) is a bundle of our own inside
`gr.HTML`, fed by a WebSocket: a Gradio component's round trip costs ten times more.
"""

import os
from typing import Any

# Read at import: without it Gradio looks up outside hosts.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

import gradio as gr
from fastapi import FastAPI

from serve.settings import ServeConfig

_CSS = """
html, body, gradio-app { background: #0b0e11 !important; overflow-x: hidden; }
.gradio-container { background: #0b0e11 !important; }
.gradio-container, .gradio-container main { max-width: 100% !important; margin: 0 !important; }
.gradio-container, .gradio-container :is(.main, main, .wrap, .column) { padding: 0 !important; }
.gradio-container :is(main, .column) { gap: 0 !important; }
footer { display: none !important; }
#don, #don > div { padding: 0 !important; border: 0 !important; margin: 0 !important; }
"""
_MOUNT = """
const box = element.querySelector('.don-box');
const mount = () => window.DonUI ? window.DonUI.mount(box) : setTimeout(mount, 20);
mount();
"""


def build_console(static: str = "/static") -> tuple[gr.Blocks, dict[str, Any]]:
    """The page and the options for `gr.mount_gradio_app`.

    Args:
        static: path under which the API serves `don-ui.js`.
    """
    with gr.Blocks(title="Don", analytics_enabled=False, fill_width=True) as page:
        gr.HTML(
            value="",
            html_template='<div class="don-box"></div>',
            js_on_load=_MOUNT,
            apply_default_css=False,
            elem_id="don",
        )
    theme = gr.themes.Base(
        font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
    )
    options = {
        "theme": theme,
        "css": _CSS,
        "js": "() => { document.body.classList.add('dark'); }",
        "head": f'<script src="{static}/don-ui.js"></script>',
        "footer_links": [],
        "run_history": False,
        "show_error": True,
        "ssr_mode": False,
        "enable_monitoring": False,
    }
    return page, options


def mount_console(app: FastAPI, path: str, static: str = "/static") -> FastAPI:
    """Put the console under `path` of an application."""
    page, options = build_console(static)
    mounted: FastAPI = gr.mount_gradio_app(app, page, path, **options)
    return mounted


def console_app(config: ServeConfig) -> FastAPI:
    """The console as an application of its own, guarded like the API."""
    from serve.api import guard

    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    guard(app, config)
    return mount_console(app, "/")
