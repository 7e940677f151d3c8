/** Jobs as far as this page has heard of them. */
import { computed, signal } from "@preact/signals";
import { jobs as api } from "../api/api";
import type { Job, JobEvent } from "../api/types";
import { attempt } from "./toasts";

const PAGE = 30;

const known = signal<ReadonlyMap<string, Job>>(new Map());
const cursor = signal<string | null>(null);

/** The job that was asked for on this page last. */
export const mine = signal<string | null>(null);

export const hasMore = computed(() => cursor.value !== null);

export const ended = (job: Job) => ["succeeded", "failed", "cancelled"].includes(job.state);

/** Newest first. */
const allJobs = computed(() =>
  [...known.value.values()].sort((a, b) => (a.created < b.created ? 1 : a.created > b.created ? -1 : 0)),
);

/** In the order in which they will probably be done. */
export const pending = computed(() =>
  allJobs.value
    .filter((job) => !ended(job))
    .sort((a, b) => place(a) - place(b) || (a.created < b.created ? -1 : a.created > b.created ? 1 : 0)),
);

export const finished = computed(() => allJobs.value.filter(ended));

export const drawing = computed(() => pending.value.filter((job) => job.kind === "generate"));

/** What the draw view shows: what is being drawn, else what was asked for here last. */
export const onStage = computed(() => {
  const own = mine.value ? known.value.get(mine.value) : undefined;
  if (own && !ended(own) && own.state !== "queued") return own;
  return drawing.value.find((job) => job.state === "running") ?? own ?? drawing.value[0] ?? null;
});

/** The switch that is under way. */
export const switching = computed(() => pending.value.find((job) => job.kind === "switch") ?? null);

function place(job: Job): number {
  return job.state === "running" ? 0 : (job.position ?? 10_000);
}

export function jobOf(id: string): Job | undefined {
  return known.value.get(id);
}

export function put(...jobs: readonly Job[]): void {
  const next = new Map(known.value);
  for (const job of jobs) next.set(job.id, newer(next.get(job.id), job));
  known.value = next;
}

/** A job that has ended stays so: an answer may have been overtaken by an event. */
function newer(before: Job | undefined, now: Job): Job {
  return before && ended(before) && !ended(now) ? before : now;
}

export async function loadNewest(): Promise<void> {
  const page = await api.list(PAGE, null);
  // What this page thinks is running may have ended while it was not listening.
  const open = new Map([...known.value].filter(([, job]) => ended(job)));
  known.value = open;
  put(...page.items);
  cursor.value = page.next_cursor;
}

export async function loadMore(): Promise<void> {
  if (!cursor.value) return;
  const page = await api.list(PAGE, cursor.value);
  put(...page.items);
  cursor.value = page.next_cursor;
}

const asked = new Set<string>();

/** Take in an event; true when the job has ended with it. */
export function hear(event: JobEvent): boolean {
  const before = known.value.get(event.job);
  if (before?.state !== event.state) placeSoon();
  if (!before) {
    fetchOnce(event.job);
    return false;
  }
  const now = merged(before, event);
  put(now);
  if (ended(now) && !ended(before)) {
    fetchOnce(event.job);
    return true;
  }
  if (before.state !== now.state) fetchOnce(event.job);
  return false;
}

export function merged(job: Job, event: JobEvent): Job {
  const { state, progress, images, error } = event;
  const going = state !== "queued";
  return {
    ...job,
    state,
    progress,
    images,
    error,
    position: going ? null : job.position,
    waits_for: going ? null : job.waits_for,
  };
}

/** Cancel, pause or resume it. */
export function act(id: string, verb: "cancel" | "pause" | "resume"): void {
  attempt(async () => put(await api.act(id, verb)));
}

/** Reports and positions are in no event. */
function fetchOnce(id: string): void {
  if (asked.has(id)) return;
  asked.add(id);
  api
    .get(id)
    .then((job) => put(job))
    .catch(() => undefined)
    .finally(() => asked.delete(id));
}

/** In milliseconds: several jobs often come or end together. */
const PLACING = 300;

let placing: ReturnType<typeof setTimeout> | undefined;

/** Who waits moves up when another one comes, begins or ends; no event tells the places. */
function placeSoon(): void {
  clearTimeout(placing);
  placing = setTimeout(() => {
    if (pending.value.filter((job) => job.state === "queued").length === 0) return;
    api
      .list(PAGE, null)
      .then((page) => put(...page.items))
      .catch(() => undefined);
  }, PLACING);
}
