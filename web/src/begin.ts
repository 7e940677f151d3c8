/** Wire the parts together: read what is there, then follow what happens. */
import { effect } from "@preact/signals";
import { listen, reconnect } from "./api/stream";
import type { JobEvent } from "./api/types";
import { form } from "./form/state";
import { spread } from "./gallery/actions";
import { NO_FILTERS } from "./gallery/filters";
import { gallery, recent } from "./gallery/store";
import * as jobs from "./state/jobs";
import { follow } from "./state/route";
import { loadModels, loadOptions, loadStatus, models, modelsLoaded, optionsOf, refreshServer } from "./state/server";
import { admission, watchRefusals } from "./state/session";
import { attempt, tell } from "./state/toasts";
import { phase, share } from "./ui/format";

export function begin(): void {
  follow();
  watchRefusals(readAll);
  attempt(async () => {
    await admission();
    readAll();
    await listen({ open: reopened, job: hearJob, image: spread });
  });
  followModel();
  titleTellsProgress();
  addEventListener("online", reconnect);
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) reconnect();
  });
}

function readAll(): void {
  attempt(jobs.loadNewest);
  attempt(() => Promise.all([loadStatus(), loadModels()]));
  recent.show(NO_FILTERS);
  gallery.refresh();
}

let openedOnce = false;

/** After a break: what happened meanwhile was not heard. */
function reopened(): void {
  if (openedOnce) {
    readAll();
    tell("Connected again");
  }
  openedOnce = true;
}

function hearJob(event: JobEvent): void {
  const done = jobs.hear(event);
  const changesServer = ["switch", "scan", "link", "download"].includes(event.kind);
  if (event.state === "running" && !event.progress?.step && event.kind === "generate") attempt(loadStatus);
  if (done) attempt(changesServer ? refreshServer : loadStatus);
  if (event.kind === "cleanup" && event.state === "succeeded") {
    gallery.refresh();
    recent.reload();
  }
}

/** The defaults belong to the chosen model; with none chosen, to the active one. One that is not here has none. */
function followModel(): void {
  effect(() => {
    const { model } = form.value;
    const isHere = model === null || models.value.some(({ name }) => name === model);
    if (modelsLoaded.value && isHere && !optionsOf(model)) attempt(() => loadOptions(model));
  });
}

function titleTellsProgress(): void {
  effect(() => {
    const running = jobs.drawing.value.find((job) => job.state === "running");
    const part = share(running?.progress ?? null);
    document.title = running
      ? `${part === null ? phase(running.progress) : `${Math.round(part * 100)} %`} · tsr`
      : "tsr";
  });
}
