"""A web page's key: given once, then a cookie, because pictures on a page are asked for without headers."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from tensors.server.answers import Json
from tensors.server.core import Core
from tensors.server.security import COOKIE, is_key, session_of
from tensors.types.server import Session

router = APIRouter(prefix="/api/session", tags=["server"])

_MONTH = 30 * 24 * 3600


@router.get("", response_model=Session)
async def get_session(core: Core, request: Request) -> Response:
    """Whether this server wants a key, and whether this browser has given one. Needs none."""
    return Json(Session(needed=bool(core.keys), valid=not core.keys or is_key(core.keys, request.headers)))


@router.post("", status_code=204)
async def open_session(core: Core, request: Request) -> Response:
    """Give the key, in the header, and have a cookie that is as good."""
    answer = Response(status_code=204)
    if core.keys:
        secure = request.url.scheme == "https"
        value = session_of(core.keys, request.headers)
        answer.set_cookie(COOKIE, value, max_age=_MONTH, httponly=True, samesite="strict", secure=secure, path="/")
    return answer


@router.delete("", status_code=204)
async def close_session() -> Response:
    """Take the cookie away."""
    answer = Response(status_code=204)
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict", path="/")
    return answer
