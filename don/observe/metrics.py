"""Metrics: the catalogue of what Don tells, and Prometheus' text of it. Opens a socket if asked to.

A part tells `Sample`s of its health; they travel with its view. Only names of the catalogue are
told, with the labels that it states, so that dashboards never meet a surprise. Labels are bounded:
a name with more series than `MAX_SERIES` loses the rest, and says so.
"""

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector

from don.errors import ConfigError
from don.observe.catalogue import CATALOGUE, HISTOGRAM
from don.observe.sample import Labels, Sample

MAX_SERIES = 5_000  # of one name
LABEL_CHARS = 80
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SUFFIXES = ("_bucket", "_sum", "_count")


def render(samples: Iterable[Sample]) -> bytes:
    """The samples in Prometheus' text format; of the same series the last counts.

    Raises:
        ValueError: if a name or its labels are not in the catalogue: a mistake of ours.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Given(samples))
    return generate_latest(registry)


class _Given(Collector):
    """Hands given samples to prometheus-client, which escapes and orders them."""

    def __init__(self, samples: Iterable[Sample]) -> None:
        series: dict[str, dict[tuple[str, Labels], float]] = defaultdict(dict)
        lost = 0
        for each in samples:
            known = series[_checked(each)]
            if len(known) >= MAX_SERIES and (each.name, each.labels) not in known:
                lost += 1
                continue
            known[each.name, each.labels] = each.value
        series["metrics_series_dropped"]["metrics_series_dropped", ()] = lost
        self._series = series

    def collect(self) -> Iterator[Family]:
        for name, values in sorted(self._series.items()):
            told = CATALOGUE[name]
            kind = told.kind
            family = Family(f"don_{name.removesuffix('_total')}", told.help, kind)
            for (full, labels), value in values.items():
                cut = {key: text[:LABEL_CHARS] for key, text in labels}
                family.add_sample(f"don_{full}", cut, value)
            yield family


def _checked(each: Sample) -> str:
    """The catalogue's name of a sample."""
    name, extra = each.name, set[str]()
    if name not in CATALOGUE:
        base = next((name.removesuffix(s) for s in _SUFFIXES if name.endswith(s)), name)
        if base not in CATALOGUE or CATALOGUE[base].kind != HISTOGRAM:
            raise ValueError(f"metric {name!r} is not in the catalogue")
        extra = {"le"} if name.endswith("_bucket") else set()
        name = base
    keys = {key for key, _ in each.labels}
    if keys != set(CATALOGUE[name].labels) | extra:
        wanted = ", ".join(CATALOGUE[name].labels) or "none"
        raise ValueError(f"metric {name!r} has labels {wanted}, were {sorted(keys)}")
    return name


class MetricsServer:
    """Prometheus' endpoint of a process that has no HTTP of its own. Close it when done.

    Args:
        source: gives the samples, at each scrape, in a thread of its own.
        port: where to listen; 0 takes a free one.
        host: loopback by default: metrics tell what is traded.

    Raises:
        ConfigError: if the port cannot be used.
    """

    def __init__(
        self, source: Callable[[], Sequence[Sample]], port: int, host: str = "127.0.0.1"
    ) -> None:
        class Handler(BaseHTTPRequestHandler):
            timeout = 10

            def do_GET(self) -> None:
                if self.path.partition("?")[0] != "/metrics":
                    self.send_error(404, "only /metrics is here")
                    return
                try:
                    body = render(source())
                except Exception as error:  # told to whoever scrapes; the process goes on
                    self.send_error(500, type(error).__name__)
                    return
                self.send_response(200)
                self.send_header("Content-Type", CONTENT_TYPE)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Scrapes are no news."""

        try:
            self._server = ThreadingHTTPServer((host, port), Handler)
        except OSError as error:
            raise ConfigError(
                f"metrics port {port} on {host} cannot be used: {error.strerror}"
            ) from error
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="metrics", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def serve_metrics(
    source: Callable[[], Sequence[Sample]], port: int, host: str = "127.0.0.1"
) -> MetricsServer:
    """Serve `/metrics` from a thread until it is closed; see `MetricsServer`."""
    return MetricsServer(source, port, host)
