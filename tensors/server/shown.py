"""The pictures of the gallery on their way out."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool
from starlette.convertors import Convertor, register_url_convertor
from starlette.datastructures import Headers
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from tensors.errors import ImageNotFound
from tensors.server.picture import Mapped, Picture

_KEPT = 32


class Shown:
    """The pictures of a gallery, for one event loop; those that were asked for last stay mapped."""

    def __init__(self, find: Callable[[str], Path]) -> None:
        """`find` tells where the picture with an id is, or raises `ImageNotFound`."""
        self._find = find
        self._last: OrderedDict[str, Mapped] = OrderedDict()

    async def answer(self, image_id: str, asked: Headers) -> Picture:
        """The picture, as a request with these headers wants it. Raises `ImageNotFound`, `OSError`."""
        known = self._last.pop(image_id, None)
        if known is None or not known.is_current():
            known = await run_in_threadpool(self._open, image_id)
        self._last[image_id] = known
        while len(self._last) > _KEPT:
            self._last.popitem(last=False)
        return Picture(known, asked)

    def _open(self, image_id: str) -> Mapped:
        try:
            return Mapped.of(self._find(image_id))
        except FileNotFoundError:
            raise ImageNotFound(f"image {image_id!r} not found", hint="tsr images list") from None


class _WellFormed(Convertor[str]):
    """Ids as the gallery makes them: no other address of `/api/images/` looks like one."""

    regex = r"\d{8}-\d{6}-\d{3}_\d{1,20}(?:-\d{1,6})?"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


class _AtOnce:
    """`GET /api/images/{image_id}` without FastAPI, whose routing takes longer than sending a picture does."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        shown: Shown = scope["app"].state.core.shown
        answer = await shown.answer(scope["path_params"]["image_id"], Headers(scope=scope))
        await answer(scope, receive, send)


def install(app: FastAPI) -> None:
    """Answer for well-formed ids before FastAPI looks. What it describes and does for all others is the same."""
    register_url_convertor("picture", _WellFormed())
    route = Route("/api/images/{image_id:picture}", _AtOnce(), methods=["GET"], include_in_schema=False)
    app.router.routes.insert(0, route)
