import type { Job } from "../api/types";
import { requestOf } from "../form/request";
import { use } from "../form/state";
import { isMature, shortened } from "../gallery/light";
import * as jobs from "../state/jobs";
import { imageHref } from "../state/route";
import { attempt, sentence } from "../state/toasts";
import { Button } from "../ui/button";
import { figures, jobTitle, phase, plural, when } from "../ui/format";
import { Problem } from "../ui/problem";
import { ProgressBar } from "../ui/progress";
import { Thumb } from "../ui/thumb";

export function QueueView() {
  const waiting = jobs.pending.value;
  const done = jobs.finished.value;
  return (
    <div class="page">
      <h1>Queue</h1>
      <section aria-labelledby="now">
        <h2 id="now">{waiting.length ? plural(waiting.length, "job") : "Nothing waits"}</h2>
        <ul class="jobs" role="list">
          {waiting.map((job) => (
            <li key={job.id}>
              <Open job={job} />
            </li>
          ))}
        </ul>
      </section>
      {done.length > 0 && (
        <section aria-labelledby="done">
          <h2 id="done">Done</h2>
          <ul class="jobs" role="list">
            {done.map((job) => (
              <li key={job.id}>
                <Done job={job} />
              </li>
            ))}
          </ul>
          {jobs.hasMore.value && <Button onClick={() => attempt(jobs.loadMore)}>Older jobs</Button>}
        </section>
      )}
    </div>
  );
}

function Open({ job }: { job: Job }) {
  const title = shortened(jobTitle(job), 160);
  const words = job.state === "running" ? phase(job.progress) : job.state === "paused" ? "Paused" : "Waiting";
  const place = job.position && job.state === "queued" ? `number ${job.position}` : "";
  return (
    <article class={`job ${job.state}`} aria-label={title}>
      <div class="job-words">
        <p class="job-title">{title}</p>
        <p class="quiet">
          {[words, place, figures(job.progress), job.settings?.model.name].filter(Boolean).join(" · ")}
        </p>
        {job.waits_for && <p class="quiet">{sentence(job.waits_for)}</p>}
      </div>
      <div class="job-buttons">
        {job.kind === "download" && job.state !== "paused" && (
          <Button icon="pause" onClick={() => jobs.act(job.id, "pause")}>
            Pause
          </Button>
        )}
        {job.state === "paused" && (
          <Button icon="play" onClick={() => jobs.act(job.id, "resume")}>
            Resume
          </Button>
        )}
        <Button icon="close" onClick={() => jobs.act(job.id, "cancel")} label={`Cancel ${title}`}>
          Cancel
        </Button>
      </div>
      {job.state !== "queued" && <ProgressBar name={`Progress of ${title}`} progress={job.progress} />}
    </article>
  );
}

const MOST_SHOWN = 6;

function Done({ job }: { job: Job }) {
  const title = shortened(jobTitle(job), 160);
  const { settings, error } = job;
  const mature = isMature(settings?.tags ?? []);
  return (
    <article class={`job ${job.state}`} aria-label={title}>
      <div class="job-words">
        <p class="job-title">{title}</p>
        <p class="quiet">
          {job.state !== "succeeded" && <b class="state-word">{job.state}</b>} {when(job.finished ?? job.created)}
        </p>
        {error && (
          <p class="problem">
            <Problem error={error} />
          </p>
        )}
      </div>
      {job.images.length > 0 && (
        <p class="job-pictures">
          {job.images.slice(0, MOST_SHOWN).map((id) => (
            <a key={id} href={imageHref(id)} class="tile">
              <Thumb id={id} alt={title} mature={mature} width={56} />
            </a>
          ))}
          {job.images.length > MOST_SHOWN && <span class="quiet">+{job.images.length - MOST_SHOWN}</span>}
        </p>
      )}
      {settings && (
        <div class="job-buttons">
          <Button icon="reuse" onClick={() => use(requestOf(settings))} label={`Use settings of ${title}`}>
            Use settings
          </Button>
        </div>
      )}
    </article>
  );
}
