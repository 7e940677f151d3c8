import { useEffect } from "preact/hooks";
import { jobs as api } from "../api/api";
import type { Job } from "../api/types";
import * as jobs from "../state/jobs";
import { attempt } from "../state/toasts";
import { Button } from "../ui/button";
import { figures, jobTitle, phase, plural } from "../ui/format";
import { Problem } from "../ui/problem";
import { ProgressBar } from "../ui/progress";

/** A job of the library in one line, until it has ended and then what came of it. */
export function JobLine({ id }: { id: string }) {
  const job = jobs.jobOf(id);
  useEffect(() => {
    if (!jobs.jobOf(id)) attempt(async () => jobs.put(await api.get(id)));
  }, [id]);
  if (!job) return null;
  const title = jobTitle(job);
  if (jobs.ended(job))
    return (
      <p class={job.error ? "problem" : "quiet"} aria-live="polite">
        {job.error ? <Problem error={job.error} /> : outcome(job)}
      </p>
    );
  return (
    <div class="job-line">
      <p>
        <b>{title}</b>{" "}
        <span class="quiet">{[phase(job.progress), figures(job.progress)].filter(Boolean).join(" · ")}</span>
      </p>
      <Button icon="close" label={`Cancel ${title}`} onClick={() => jobs.act(id, "cancel")}>
        Cancel
      </Button>
      <ProgressBar name={`Progress of ${title}`} progress={job.progress} />
    </div>
  );
}

function outcome({ state, scan, link, download }: Job): string {
  if (state === "cancelled") return "Cancelled.";
  if (scan) return `${plural(scan.files, "file")} found, ${scan.added} new, ${scan.missing} missing.`;
  if (link) return `${link.linked} of ${plural(link.files, "file")} matched.`;
  if (download) return `${download.files.map((file) => file.name).join(", ")} is in the library.`;
  return "Done.";
}
