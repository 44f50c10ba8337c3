"""`GET /metrics`: what monitors are told, in Prometheus' text format."""

from collections.abc import Iterator

from fastapi import APIRouter, Response

from don.clock import Clock
from don.errors import DependencyError
from don.observe.metrics import CONTENT_TYPE, render
from don.observe.parts import desk_samples, part_samples
from don.observe.sample import Sample, sample
from serve.assemble import Picture, picture
from serve.ports import Reader
from serve.settings import ServeConfig


def build(reader: Reader, config: ServeConfig, clock: Clock) -> APIRouter:
    """The router. What is away is told as a part that is down; the rest is told all the same."""
    router = APIRouter(tags=["metrics"])

    @router.get("/metrics", include_in_schema=False)  # no JSON: for monitors, see the guide
    async def metrics() -> Response:
        """Metrics of every part; see the guide for their names."""
        samples: list[Sample] = []
        try:
            shown = picture(await reader.views(), clock.now_ns(), config.stale_after_s)
            samples += _of_board(shown)
            samples.append(sample("part_up", 1, part="board"))
        except DependencyError:
            samples.append(sample("part_up", 0, part="board"))
        try:
            samples += await reader.metrics()
            samples.append(sample("part_up", 1, part="database"))
        except DependencyError:
            samples.append(sample("part_up", 0, part="database"))
        return Response(render(samples), media_type=CONTENT_TYPE)

    return router


def _of_board(shown: Picture) -> Iterator[Sample]:
    """Of all parts and the desk."""
    yield from part_samples(
        {
            "part": part.part,
            "state": part.state.value,
            "restarts": part.restarts,
            "age_s": part.age_s,
            "streams": [stream.model_dump() for stream in part.streams],
            "metrics": part.metrics,
        }
        for part in shown.parts
    )
    if shown.desk is not None:
        yield from desk_samples(shown.desk.model_dump())
