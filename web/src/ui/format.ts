/** Figures and times in words. */
import type { Job, Progress } from "../api/types";

const UNITS = ["B", "kB", "MB", "GB", "TB"];

export function bytes(size: number): string {
  let unit = 0;
  let value = size;
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit && value < 9.95 ? value.toFixed(1) : Math.round(value)} ${UNITS[unit]}`;
}

export function duration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

export function plural(count: number, one: string, many = `${one}s`): string {
  return `${count.toLocaleString("en")} ${count === 1 ? one : many}`;
}

const moment = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

export const when = (created: string) => moment.format(new Date(created));
export const compact = (count: number) => short.format(count);

const PHASES: Record<string, string> = {
  queued: "Waiting",
  loading: "Loading the model",
  encoding: "Reading the prompt",
  decoding: "Decoding the picture",
  saving: "Saving",
};

/** What a job does now. */
export function phase(progress: Progress | null): string {
  if (!progress) return "Waiting";
  if (progress.phase === "sampling") return `Step ${progress.step} of ${progress.steps}`;
  const known = PHASES[progress.phase];
  if (known) return known;
  return progress.phase.charAt(0).toUpperCase() + progress.phase.slice(1);
}

/** How much of a job is done, from 0 to 1; null where that cannot be told. */
export function share(progress: Progress | null): number | null {
  if (!progress) return null;
  if (progress.total) return Math.min(1, progress.done / progress.total);
  if (!progress.steps) return null;
  const images = Math.max(1, progress.images);
  const before = Math.max(0, progress.image - 1);
  const within = ["decoding", "saving"].includes(progress.phase) ? 1 : progress.step / progress.steps;
  return Math.min(1, (before + within) / images);
}

/** The figures behind the share: `12 of 40 files`, `1.2 of 6.9 GB`, `picture 2 of 4`. */
export function figures(progress: Progress | null): string {
  if (!progress) return "";
  const { done, total, unit, image, images, seconds_left: left } = progress;
  const parts: string[] = [];
  if (total)
    parts.push(unit === "bytes" ? `${bytes(done)} of ${bytes(total)}` : `${done} of ${total} ${unit ?? ""}`.trim());
  if (images > 1) parts.push(`picture ${Math.max(1, image)} of ${images}`);
  if (left !== null && left >= 0.5) parts.push(`${duration(left)} left`);
  return parts.join(" · ");
}

const KINDS: Record<string, string> = {
  generate: "Drawing",
  switch: "Switching the model",
  scan: "Looking for model files",
  link: "Matching with CivitAI",
  cache: "Fetching from CivitAI",
  download: "Download",
  cleanup: "Cleaning up",
};

export function jobTitle(job: Job): string {
  if (job.settings) return job.settings.prompt || "Drawing";
  const kind = KINDS[job.kind] ?? job.kind;
  const files = job.download?.files.map((file) => file.name).join(", ");
  const what = files || job.switch?.model || job.progress?.name;
  return what ? `${kind}: ${what}` : kind;
}
