import { useEffect, useState } from "preact/hooks";
import { images } from "../api/api";
import type { Job } from "../api/types";
import { isMature, shortened } from "../gallery/light";
import { recent } from "../gallery/store";
import * as jobs from "../state/jobs";
import { blur } from "../state/preferences";
import { imageHref } from "../state/route";
import { sentence } from "../state/toasts";
import { Button } from "../ui/button";
import { figures, phase, plural } from "../ui/format";
import { Problem } from "../ui/problem";
import { ProgressBar } from "../ui/progress";
import { Thumb } from "../ui/thumb";

export function Stage() {
  const job = jobs.onStage.value;
  return (
    <section class="stage" aria-label="Pictures of this prompt">
      {job ? <Result job={job} /> : <Nothing />}
      <Recent />
    </section>
  );
}

function Nothing() {
  return (
    <div class="nothing">
      <p>Your picture appears here.</p>
      <p class="quiet">Drop a picture anywhere to use its settings, to start from it, or to import it.</p>
    </div>
  );
}

function Result({ job }: { job: Job }) {
  const running = !jobs.ended(job);
  const total = job.settings?.batch_size ?? 1;
  const rest = running ? Math.max(0, total - job.images.length) : 0;
  const name = shortened(job.settings?.prompt ?? "", 200);
  const hidden = blur.value && isMature(job.settings?.tags ?? []);
  const shown = job.images.length + Math.min(rest, 8);
  return (
    <div class="result">
      {running && <Running job={job} />}
      <Announcement job={job} />
      {job.error && (
        <div class="notice bad">
          <p>
            <Problem error={job.error} />
          </p>
        </div>
      )}
      {job.state === "cancelled" && <p class="quiet">Cancelled.</p>}
      <div class={shown > 1 ? "results many" : "results"} style={{ "--columns": Math.ceil(Math.sqrt(shown)) }}>
        {job.images.map((id) => (
          <a key={id} href={imageHref(id)} class={hidden ? "blurred" : ""}>
            <img
              src={images.url(id)}
              alt={name}
              width={job.settings?.width}
              height={job.settings?.height}
              decoding="async"
            />
          </a>
        ))}
        {Array.from({ length: Math.min(rest, 8) }, (_, index) => (
          <div
            key={`rest-${index}`}
            class={index === 0 && job.state === "running" ? "coming now" : "coming"}
            style={{ aspectRatio: `${job.settings?.width ?? 1} / ${job.settings?.height ?? 1}` }}
          />
        ))}
      </div>
    </div>
  );
}

function Running({ job }: { job: Job }) {
  const waiting = jobs.drawing.value.filter((other) => other.id !== job.id).length;
  const words = job.state === "queued" ? (job.waits_for ?? "Waiting") : phase(job.progress);
  return (
    <section class="running" aria-label="Progress">
      <div class="running-words">
        <p>
          <b>{sentence(words)}</b>
          <span class="quiet">{figures(job.progress)}</span>
        </p>
        <Button icon="close" onClick={() => jobs.act(job.id, "cancel")}>
          Cancel
        </Button>
      </div>
      <ProgressBar name="Drawing progress" progress={job.progress} />
      {waiting > 0 && (
        <p class="quiet">
          <a href="#/queue">{plural(waiting, "more job")} in the queue</a>
        </p>
      )}
    </section>
  );
}

const STATES: Record<string, string> = {
  queued: "The job waits.",
  running: "Drawing has begun.",
  succeeded: "The picture is there.",
  failed: "Drawing failed.",
  cancelled: "Drawing was cancelled.",
};

/** Said aloud: what has changed, not each step. */
function Announcement({ job }: { job: Job }) {
  const [text, setText] = useState("");
  const pictures = job.images.length;
  useEffect(() => {
    const count = job.state === "succeeded" && pictures > 1 ? `${pictures} pictures are there.` : null;
    setText(count ?? STATES[job.state] ?? "");
  }, [job.state, pictures]);
  return (
    <p class="visually-hidden" aria-live="polite">
      {text}
    </p>
  );
}

const SHOWN = 24;

function Recent() {
  void recent.version.value;
  const pictures = Array.from({ length: Math.min(recent.count, SHOWN) }, (_, index) => recent.at(index));
  if (!pictures.length) return null;
  return (
    <section class="recent" aria-labelledby="recent-name">
      <header class="panel-head">
        <h2 id="recent-name">Recent</h2>
        <a href="#/gallery">All pictures</a>
      </header>
      <div class="recent-grid">
        {pictures.map(
          (picture) =>
            picture && (
              <a key={picture.id} href={imageHref(picture.id)} class="tile">
                <Thumb id={picture.id} alt={picture.alt} mature={picture.mature} width={120} />
              </a>
            ),
        )}
      </div>
    </section>
  );
}
