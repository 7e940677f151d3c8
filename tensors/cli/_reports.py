"""What work on the library and on models came to, in words."""

from __future__ import annotations

from tensors.cli._text import counted, listed, size
from tensors.types.download import DownloadReport
from tensors.types.gallery import Cleaning
from tensors.types.jobs import Job
from tensors.types.library import CacheReport, FileProblem, LinkReport, ScanReport
from tensors.types.models import SwitchReport


def scan_words(report: ScanReport) -> str:
    """`1,234 files in 3 folders: 12 new, 1 changed, 1,233 hashed`."""
    parts = [
        (report.added, "new"),
        (report.changed, "changed"),
        (report.moved, "moved"),
        (report.returned, "back"),
        (report.missing, "missing"),
        (report.hashed, "hashed"),
        (report.unhashed, "without hashes"),
        (len(report.problems), "with a problem"),
    ]
    where = f"{counted(report.files, 'file')} in {counted(len(report.folders), 'folder')}"
    return f"{where}: {listed(parts) or 'nothing new'}"


def link_words(report: LinkReport) -> str:
    """`120 files: 100 linked (90 by SHA256, 10 by AutoV3), 20 not known to CivitAI, 80 models fetched`."""
    how = [
        (report.by_sha256, "by SHA256"),
        (report.by_autov3, "by AutoV3"),
        (report.by_blake3, "by BLAKE3"),
        (report.by_sidecar, "by notes of other tools"),
    ]
    ways = listed(how)
    rest = [
        (report.not_found, "not known to CivitAI"),
        (report.unhashed, "without hashes"),
        (report.fetched, "model fetched" if report.fetched == 1 else "models fetched"),
        (len(report.problems), "with a problem"),
    ]
    parts = [f"{report.linked:,} linked{f' ({ways})' if ways else ''}", listed(rest)]
    return f"{counted(report.files, 'file')}: {', '.join(filter(None, parts))}"


def cache_words(report: CacheReport) -> str:
    """`3 models kept, 1 not found`."""
    missing = f", {len(report.not_found):,} not found" if report.not_found else ""
    return f"{counted(len(report.models), 'model')} kept{missing}"


def download_words(report: DownloadReport) -> str:
    """`2 files fetched, 1 was here`."""
    fetched = sum(file.fetched for file in report.files)
    here = len(report.files) - fetched
    parts = [f"{counted(fetched, 'file')} fetched"] if fetched or not here else []
    return ", ".join([*parts, *([f"{here:,} {'was' if here == 1 else 'were'} here"] if here else [])])


def switch_words(report: SwitchReport) -> str:
    """`dreamshaper_8 is loaded on gpu0`."""
    return f"{report.model} is loaded on {report.backend}"


def cleaning_words(report: Cleaning) -> str:
    """`12 pictures to the trash, 3 removed for good, 45.6 MB freed, 1.20 GB left`."""
    if not (report.trashed or report.removed):
        return f"nothing to remove, {size(report.size)} there"
    parts = [
        f"{counted(len(report.trashed), 'picture')} to the trash" if report.trashed else "",
        f"{len(report.removed):,} removed for good, {size(report.freed)} freed" if report.removed else "",
        f"{size(report.size)} left",
    ]
    return ", ".join(filter(None, parts))


def report_words(job: Job) -> str | None:
    """What a job came to that draws nothing; None of another job, or of one that has not ended."""
    if job.switch:
        return switch_words(job.switch)
    if job.scan:
        return scan_words(job.scan)
    if job.link:
        return link_words(job.link)
    if job.download:
        return download_words(job.download)
    if job.cleanup:
        return cleaning_words(job.cleanup)
    return cache_words(job.cache) if job.cache else None


def problems_of(job: Job) -> tuple[FileProblem, ...]:
    """The files and folders that something was wrong with."""
    return (job.scan.problems if job.scan else ()) + (job.link.problems if job.link else ())
