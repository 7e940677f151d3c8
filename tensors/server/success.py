"""Waiting for a job to succeed, for requests that are answered with what came of it."""

from __future__ import annotations

from tensors.errors import JobCancelled, JobFailed, ServerUnreachable, TsrError, from_wire
from tensors.server.core import ServerCore
from tensors.types.jobs import JobEvent


async def success_of(core: ServerCore, job_id: str) -> JobEvent:
    """The last event of a job, once it has succeeded.

    Raises the job's own error, `JobCancelled`, and `ServerUnreachable` when the server stops before its end.
    """
    last: JobEvent | None = None
    async for batch in core.queue.follow(job_id):
        last = batch[-1][0] if batch else last
    if last is None or not last.last:
        raise ServerUnreachable(
            f"the server is stopping; job {job_id} goes on when it is back", hint=f"tsr jobs watch {job_id}"
        )
    if last.state == "cancelled":
        raise JobCancelled(f"job {job_id} was cancelled")
    if last.error:
        said = {"code": last.error.code, "message": last.error.message, "hint": last.error.hint}
        error = from_wire({"error": {**said, "details": {"job": job_id}}}, status=500)
        raise error if type(error) is not TsrError else JobFailed(error.message, hint=error.hint)
    return last
