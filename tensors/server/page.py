"""The web page at `/`: built from `web/`, shipped as `tensors/page/`."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles

PAGE = Path(__file__).parent.parent / "page"

_POLICY = "; ".join(
    (
        "default-src 'self'",
        "img-src 'self' blob: data:",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
"""Nothing is loaded from elsewhere, and nobody puts the page into theirs."""
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class _Assets(StaticFiles):
    """Files whose names change with their content."""

    def file_response(self, *args: object, **options: object) -> Response:
        response = super().file_response(*args, **options)  # type: ignore[arg-type]
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response


def install(app: FastAPI) -> None:
    """Serve the page and what it loads."""

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return FileResponse(PAGE / "index.html", headers={**_HEADERS, "Cache-Control": "no-cache"})

    @app.get("/favicon.svg", include_in_schema=False)
    async def icon() -> Response:
        return FileResponse(PAGE / "favicon.svg", headers={"X-Content-Type-Options": "nosniff"})

    app.mount("/assets", _Assets(directory=PAGE / "assets", check_dir=False))
