"""Every error tsr raises on purpose.

::

    TsrError                        internal                500  exit 1
    +-- InvalidRequest              invalid_request         422  exit 2
    |   +-- MalformedBody           malformed_body          400  exit 2
    |   +-- PayloadTooLarge         payload_too_large       413  exit 2
    |   +-- OutsideFolders          outside_folders         403  exit 2
    |   +-- MissingCompanions       missing_companions      422  exit 2
    +-- NotFound                    not_found               404  exit 3
    |   +-- ModelNotFound           model_not_found         404  exit 3
    |   +-- LoraNotFound            lora_not_found          404  exit 3
    |   +-- JobNotFound             job_not_found           404  exit 3
    |   +-- ImageNotFound           image_not_found         404  exit 3
    |   +-- RemoteNotFound          remote_not_found        404  exit 3
    |   +-- FileNotInLibrary        file_not_in_library     404  exit 3
    |   +-- NotInCatalog            not_in_catalog          404  exit 3
    +-- Conflict                    conflict                409  exit 1
    |   +-- JobFinished             job_finished            409  exit 1
    |   +-- IdempotencyConflict     idempotency_conflict    409  exit 1
    |   +-- AlreadyRunning          already_running         409  exit 1
    |   +-- NeedsServer             needs_server            409  exit 1
    +-- Unauthorized                unauthorized            401  exit 4
    |   +-- Forbidden               forbidden               403  exit 4
    +-- QueueFull                   queue_full              429  exit 1
    +-- EngineError                 engine_error            502  exit 5
    |   +-- EngineDied              engine_died             502  exit 5
    |   +-- EngineNotInstalled      engine_not_installed    503  exit 5
    |   +-- EngineStartFailed       engine_start_failed     503  exit 5
    |   +-- EngineInstallFailed     engine_install_failed   502  exit 5
    +-- CatalogError                catalog                 502  exit 7
    |   +-- CatalogUnreachable      catalog_unreachable     503  exit 7
    |   +-- CatalogRefused          catalog_refused         502  exit 7
    +-- DownloadError               download                502  exit 8
    |   +-- DownloadRefused         download_refused        409  exit 8
    |   +-- DiskFull                disk_full               507  exit 8
    +-- LibraryError                library                 500  exit 1
    +-- JobFailed                   job_failed              500  exit 1
    +-- JobCancelled                job_cancelled           409  exit 130
    +-- ServerUnreachable           unreachable             503  exit 6
    +-- ConfigError                 config                  500  exit 2

An error crosses the wire as ``{"error": {"code", "message", "hint"?, "details"?}}`` and becomes the same class again on
the other side (`from_wire`). A class's docstring is its message when none is given.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class TsrError(Exception):
    """Something went wrong inside tsr."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1
    _by_code: ClassVar[dict[str, type[TsrError]]] = {}

    def __init_subclass__(cls) -> None:
        known = TsrError._by_code.setdefault(cls.code, cls)
        if known is not cls and known not in cls.__mro__:
            raise TypeError(f"two errors with the code {cls.code!r}")

    def __init__(
        self, message: str | None = None, *, hint: str | None = None, details: Mapping[str, Any] | None = None
    ) -> None:
        self.message = message or (type(self).__doc__ or "").strip().splitlines()[0].rstrip(".")
        self.hint = hint
        self.details = dict(details or {})
        super().__init__(self.message)

    def to_wire(self) -> dict[str, Any]:
        """The error as the document that is sent and printed with ``--json``."""
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.hint:
            error["hint"] = self.hint
        if self.details:
            error["details"] = self.details
        return {"error": error}


def from_wire(document: object, *, status: int) -> TsrError:
    """The error that `TsrError.to_wire` described; a plain `TsrError` for anything else."""
    error = document.get("error") if isinstance(document, dict) else None
    if not isinstance(error, dict) or not isinstance(error.get("message"), str):
        return TsrError(f"the server answered with status {status} and no explanation")
    found = TsrError._by_code.get(str(error.get("code")), TsrError)
    hint, details = error.get("hint"), error.get("details")
    return found(
        error["message"],
        hint=hint if isinstance(hint, str) else None,
        details=details if isinstance(details, dict) else None,
    )


class InvalidRequest(TsrError):
    """The request is not valid."""

    code = "invalid_request"
    status = 422
    exit_code = 2


class MalformedBody(InvalidRequest):
    """The request's body is not valid JSON."""

    code = "malformed_body"
    status = 400


class PayloadTooLarge(InvalidRequest):
    """The request's body is too large."""

    code = "payload_too_large"
    status = 413


class OutsideFolders(InvalidRequest):
    """The path is outside the folders with models."""

    code = "outside_folders"
    status = 403


class MissingCompanions(InvalidRequest):
    """The model needs other files that are not in the library."""

    code = "missing_companions"


class NotFound(TsrError):
    """There is no such thing."""

    code = "not_found"
    status = 404
    exit_code = 3


class ModelNotFound(NotFound):
    """There is no such model."""

    code = "model_not_found"


class LoraNotFound(NotFound):
    """There is no such LoRA."""

    code = "lora_not_found"


class JobNotFound(NotFound):
    """There is no such job."""

    code = "job_not_found"


class ImageNotFound(NotFound):
    """There is no such image."""

    code = "image_not_found"


class RemoteNotFound(NotFound):
    """There is no such remote."""

    code = "remote_not_found"


class FileNotInLibrary(NotFound):
    """There is no such file in the library."""

    code = "file_not_in_library"


class NotInCatalog(NotFound):
    """The catalog knows no such model."""

    code = "not_in_catalog"


class Conflict(TsrError):
    """The request does not fit the present state."""

    code = "conflict"
    status = 409


class JobFinished(Conflict):
    """The job has already finished."""

    code = "job_finished"


class IdempotencyConflict(Conflict):
    """This idempotency key was used for a different request."""

    code = "idempotency_conflict"


class AlreadyRunning(Conflict):
    """A server is already running on this data directory."""

    code = "already_running"


class NeedsServer(Conflict):
    """This needs a running server."""

    code = "needs_server"


class Unauthorized(TsrError):
    """The server wants an API key."""

    code = "unauthorized"
    status = 401
    exit_code = 4


class Forbidden(Unauthorized):
    """The server refuses requests from there."""

    code = "forbidden"
    status = 403


class QueueFull(TsrError):
    """The queue is full."""

    code = "queue_full"
    status = 429


class EngineError(TsrError):
    """The engine failed."""

    code = "engine_error"
    status = 502
    exit_code = 5


class EngineDied(EngineError):
    """The engine ended in the middle of its work."""

    code = "engine_died"


class EngineNotInstalled(EngineError):
    """There is no sd-server on this machine."""

    code = "engine_not_installed"
    status = 503


class EngineStartFailed(EngineError):
    """The engine did not start."""

    code = "engine_start_failed"
    status = 503


class EngineInstallFailed(EngineError):
    """The engine could not be installed."""

    code = "engine_install_failed"


class CatalogError(TsrError):
    """CivitAI or Hugging Face answered with something that cannot be used."""

    code = "catalog"
    status = 502
    exit_code = 7


class CatalogUnreachable(CatalogError):
    """CivitAI or Hugging Face does not answer, or is too busy, also after several tries."""

    code = "catalog_unreachable"
    status = 503


class CatalogRefused(CatalogError):
    """CivitAI or Hugging Face wants another key for this, or refuses the request."""

    code = "catalog_refused"


class DownloadError(TsrError):
    """A file could not be fetched whole, also after several tries."""

    code = "download"
    status = 502
    exit_code = 8


class DownloadRefused(DownloadError):
    """A file is not to be had, or not to be taken: trying again would not help."""

    code = "download_refused"
    status = 409


class DiskFull(DownloadError):
    """There is not enough room for a file."""

    code = "disk_full"
    status = 507


class LibraryError(TsrError):
    """The library's database cannot be used."""

    code = "library"


class JobFailed(TsrError):
    """The job failed."""

    code = "job_failed"


class JobCancelled(TsrError):
    """The job was cancelled."""

    code = "job_cancelled"
    status = 409
    exit_code = 130


class ServerUnreachable(TsrError):
    """The server cannot be reached."""

    code = "unreachable"
    status = 503
    exit_code = 6


class ConfigError(TsrError):
    """The configuration is not valid."""

    code = "config"
    exit_code = 2
