"""The application: routes, guard, and the parts that live as long as it does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from tensors import __version__
from tensors.config import Config
from tensors.downloads.downloader import Downloader
from tensors.engines.leftovers import end_leftovers
from tensors.gallery import Gallery
from tensors.hash_cache import HashCache
from tensors.housekeeping import keep_house
from tensors.inputs import Inputs
from tensors.jobs import JobQueue
from tensors.library import Library
from tensors.lineup import Lineup
from tensors.lookup import Lookup
from tensors.remaking.remaker import Remaker
from tensors.server import (
    body,
    catalog,
    db,
    doctor,
    download,
    events,
    gallery,
    jobs,
    models,
    page,
    problems,
    routes,
    session,
    shown,
)
from tensors.server.core import ServerCore
from tensors.server.security import Guard
from tensors.server.shown import Shown
from tensors.worker import Worker

log = logging.getLogger(__name__)


def create_app(config: Config, *, url: str, keys: Sequence[str] = ()) -> FastAPI:
    """The server's ASGI application.

    `url` is how this machine reaches the server, `keys` are the API keys it takes. The active model is loaded at the
    start.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await asyncio.to_thread(end_leftovers, config.run_dir)
        library = Library(config, confined=True)
        worker = await Worker.of(config, library)
        pictures = Gallery(config.gallery_dir, config.gallery_index)
        queue = JobQueue(config, worker, library, pictures)
        lookup, downloader = Lookup(config, library), Downloader(config, library)
        lineup = Lineup(worker.shelf, worker.checkpoints, worker.pool.holders)
        hashes = HashCache(config.data_dir / "cache" / "hashes.json", library.known_hash)
        remaker = Remaker(library, worker.shelf, hashes, Inputs(config.data_dir / "inputs"))
        app.state.core = ServerCore(
            config,
            worker,
            queue,
            pictures,
            library,
            downloader,
            lookup,
            lineup,
            remaker,
            Shown(pictures.path),
            url,
            keys,
        )
        worker.checkpoints.instead_of_builtin = worker.pool.elsewhere
        worker.pool.start()
        await queue.start()
        if config["engine.keep_alive"]:
            await worker.preload()
        keeping_house = asyncio.create_task(keep_house(config, queue, pictures))
        try:
            yield
        finally:
            keeping_house.cancel()
            await asyncio.wait({keeping_house})
            await queue.stop()
            await worker.pool.stop()
            pictures.close()

    # Its /docs loads nothing from elsewhere: the box in the corner may have no way out.
    app = FastAPIOffline(title="tsr", version=__version__, lifespan=lifespan, redoc_url=None)
    problems.install(app)
    for module in (routes, jobs, gallery, models, db, doctor, catalog, download, events, session):
        app.include_router(module.router)
    page.install(app)
    shown.install(app)
    _complete_schema(app)
    app.add_middleware(
        Guard,
        bind=config["server.host"],
        allowed_hosts=config["server.allowed_hosts"],
        keys=keys,
        max_body=config["server.max_body_mb"] * 1_000_000,
    )
    return app


def _complete_schema(app: FastAPI) -> None:
    """Add to the API's schema what FastAPI cannot see: the bodies that are read by hand, errors, the keys."""
    described = app.openapi

    def openapi() -> dict[str, Any]:
        schema = described()
        components = schema.setdefault("components", {})
        schemas = components.setdefault("schemas", {})
        schemas.update(body.schemas() | {"Error": problems.SCHEMA})
        for operation in (operation for path in schema["paths"].values() for operation in path.values()):
            # FastAPI describes the errors it would answer with itself.
            operation["responses"].pop("422", None)
            operation["responses"]["default"] = problems.DESCRIBED
        schemas.pop("HTTPValidationError", None)
        schemas.pop("ValidationError", None)
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        schema["security"] = [{"key": []}, {}]
        return schema

    app.openapi = openapi  # type: ignore[method-assign]
