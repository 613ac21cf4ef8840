"""The HTTP API of some indexes, and its page."""

import asyncio
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from os import cpu_count
from typing import Annotated, Any

import faiss
import numpy as np
from fastapi import Depends, FastAPI, File, Header, Query, UploadFile
from fastapi.responses import Response
from fastapi.security import HTTPBearer
from prometheus_client import CollectorRegistry, Gauge, ProcessCollector
from prometheus_client import exposition as prometheus
from pydantic import BaseModel, ConfigDict, Field

from dsh_jax import __version__
from dsh_jax.search.combining import combine
from dsh_jax.search.items import MOST_ID_BYTES, MOST_LABELS
from dsh_jax.search.server.guard import Guard, Metrics
from dsh_jax.search.server.limits import Limits, Refused
from dsh_jax.search.server.responses import as_json, explain_errors
from dsh_jax.search.server.schemas import (
    Answer,
    Code,
    Failure,
    Id,
    Label,
    Served,
    Several,
    Term,
    Text,
)
from dsh_jax.search.server.service import Relaxed, Service
from dsh_jax.search.server.thumbnails import Thumbnails

_PAGE = {"/": ("page.html", "text/html"), "/page.css": ("page.css", "text/css"),
         "/page.js": ("page.js", "text/javascript")}  # fmt: skip
_PAGE_HEADERS = {
    "Content-Security-Policy":
        "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
}  # fmt: skip
_JPEG: dict[str, Any] = {"content": {"image/jpeg": {}}}
_FREE = {*_PAGE, "/health", "/docs", "/openapi.json"}
_UNLIMITED = {"/health", "/metrics"}


def create_app(
    services: Mapping[str, Service],
    thumbnails: Thumbnails,
    *,
    limits: Limits,
    token: str = "",
    hosts: Collection[str] = (),
) -> FastAPI:
    """The app.

    Args:
      services: by name; the first answers requests that name none.
      thumbnails: of their items.
      limits: of requests.
      token: that requests must bear; empty for none.
      hosts: names that requests may call the server by; empty for any.
    """
    first = next(iter(services))

    class Options(BaseModel):
        """What is wanted."""

        model_config = ConfigDict(extra="forbid")
        index: str = Field(first, description="name of one of the indexes")
        top: int | None = Field(
            None, ge=1, le=limits.top,
            description=f"at most so many items: 10, or {limits.top} with a radius",
        )  # fmt: skip
        radius: int | None = Field(
            None, ge=0, le=2**16, description="only items within so many bits"
        )
        label: list[Label] = Field(
            [], max_length=MOST_LABELS, description="only items with one of these labels"
        )
        unique: int | None = Field(
            None, ge=0, le=2**16, description="leave out items within so many bits of a nearer one"
        )

    registry = CollectorRegistry()
    metrics = Metrics(registry)
    items = Gauge("dsh_jax_items", "Items of an index.", ["index"], registry=registry)
    ProcessCollector(registry=registry)
    # Threads of their own: what is not started when its time is over never is.
    threads = ThreadPoolExecutor(cpu_count() or 1, "search", initializer=_alone)

    async def work(function: Callable[..., Any], *arguments: Any) -> Any:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(threads, function, *arguments)

    def service_of(name: str) -> Service:
        if name not in services:
            raise Refused(404, f"there is no index {name!r}: name one of {', '.join(services)}.")
        return services[name]

    ways: dict[str, Callable[[Service, Any], Relaxed]] = {
        "image": lambda service, content: service.of_image(content, limits.pixels),
        "text": Service.of_text, "id": Service.of_id, "code": Service.of_code,
    }  # fmt: skip

    async def answer(options: Options, *terms: Term) -> Response:
        service = service_of(options.index)

        async def relaxed(way: str, value: str | bytes) -> np.ndarray:
            return await asyncio.wrap_future(await work(ways[way], service, value))

        codes = await asyncio.gather(*(relaxed(way, value) for way, value, _ in terms))
        code = combine(codes, [weight for _, _, weight in terms])
        return await work(nearest, service, options, code)

    def nearest(service: Service, options: Options, code: np.ndarray) -> Response:
        top = options.top or (10 if options.radius is None else limits.top)
        hits = service.search(
            code, top=top, radius=options.radius, labels=options.label, unique=options.unique
        )
        note = ""
        if options.radius is not None and len(hits) == top:
            note = f"the top {top:,} are full, and there may be more within the radius."
        elif options.radius is None and top > len(service.index):
            note = f"the index has {len(service.index):,} items in all."
        return as_json({
            "index": service.name, "num_bits": service.index.num_bits,
            "code": code[0].tobytes().hex(), "note": note,
            "hits": [hit.to_dict() for hit in hits],
        })  # fmt: skip

    app = FastAPI(
        title="dsh_jax", version=__version__, description="Items by the Hamming distance of codes.",
        redoc_url=None, swagger_ui_oauth2_redirect_url=None,
        responses={"4XX": {"model": Failure}, "5XX": {"model": Failure}},
        dependencies=[Depends(HTTPBearer(auto_error=False))] if token else [],
    )  # fmt: skip
    Wanted = Annotated[Options, Query()]

    @app.post("/search/image", response_model=Answer)
    async def search_by_image(
        options: Wanted, file: Annotated[UploadFile, File(description="an image file")]
    ) -> Response:
        """Items near an image."""
        return await answer(options, ("image", await file.read(), 1.0))

    @app.post("/search/text", response_model=Answer)
    async def search_by_text(options: Wanted, query: Text) -> Response:
        """Items near a document."""
        return await answer(options, ("text", query.text, 1.0))

    @app.post("/search/id", response_model=Answer)
    async def search_by_id(options: Wanted, query: Id) -> Response:
        """Items near an item of the index, which is one of them."""
        return await answer(options, ("id", query.id, 1.0))

    @app.post("/search/code", response_model=Answer)
    async def search_by_code(options: Wanted, query: Code) -> Response:
        """Items near a code."""
        return await answer(options, ("code", query.code, 1.0))

    @app.post("/search/several", response_model=Answer)
    async def search_by_several(options: Wanted, query: Several) -> Response:
        """Items near the weighted sum of some queries, and far from those of negative weight."""
        return await answer(options, *(each.term() for each in query.queries))

    @app.get("/indexes", response_model=list[Served])
    async def indexes() -> Response:
        """What is served."""
        return as_json(await work(lambda: [service.facts() for service in services.values()]))

    @app.get("/thumbnail", response_class=Response, responses={200: _JPEG})
    async def thumbnail(
        id: Annotated[str, Query(max_length=MOST_ID_BYTES)],
        index: str = first,
        if_none_match: Annotated[str, Header()] = "",
    ) -> Response:
        """A small picture of an item."""

        def made() -> Response:
            item = service_of(index).item(id)
            tag = f'"{thumbnails.tag(item)}"'
            headers = {"ETag": tag, "Cache-Control": "private, no-cache",
                       "X-Content-Type-Options": "nosniff"}  # fmt: skip
            if tag == if_none_match:
                return Response(status_code=304, headers=headers)
            return Response(thumbnails.jpeg(item), media_type="image/jpeg", headers=headers)

        return await work(made)

    def sizes() -> dict[str, int]:
        return {name: len(service.index) for name, service in services.items()}

    @app.get("/health")
    async def health() -> dict[str, Any]:
        """Whether the indexes answer."""
        return {"status": "ok", "items": await asyncio.to_thread(sizes)}

    @app.get("/metrics", response_class=Response)
    async def figures() -> Response:
        """Figures for Prometheus."""
        for name, size in (await asyncio.to_thread(sizes)).items():
            items.labels(name).set(size)
        text = prometheus.generate_latest(registry)
        return Response(text, media_type=prometheus.CONTENT_TYPE_LATEST)

    for path, (name, media_type) in _PAGE.items():
        content = resources.files(__package__).joinpath(name).read_bytes()
        app.add_api_route(path, _constant(content, media_type), include_in_schema=False)

    explain_errors(app)
    app.add_middleware(
        Guard, limits=limits, token=token, hosts=hosts, free=_FREE, unlimited=_UNLIMITED,
        paths={*app.openapi()["paths"], *_FREE}, metrics=metrics,
    )  # fmt: skip
    return app


def _constant(content: bytes, media_type: str) -> Callable[[], Response]:
    return lambda: Response(content, media_type=media_type, headers=_PAGE_HEADERS)


def _alone() -> None:
    # A query alone gives FAISS nothing to share among threads, and those of several queries wait
    # for each other: on two busy cores a search took 21 ms, and with this 0.15 ms.
    faiss.omp_set_num_threads(1)  # of this thread
