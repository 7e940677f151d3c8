/** The server's operations, by noun. */
import { call, type Query, queryString, send } from "./http";
import type {
  DownloadPlan,
  DownloadRequest,
  Found,
  GenerateRequest,
  Image,
  ImageEdit,
  Job,
  LibraryStats,
  LoraEntry,
  ModelEntry,
  File as ModelFile,
  Options,
  Page,
  Remake,
  Session,
  Status,
} from "./types";

const part = encodeURIComponent;

export const status = () => call<Status>("/api/status");

export const generate = (json: GenerateRequest) =>
  call<{ job: Job }>("/api/generate", {
    method: "POST",
    json: { ...json, wait: false },
    headers: { "Idempotency-Key": randomKey() },
  });

export const session = {
  get: () => call<Session>("/api/session"),
  begin: (key: string) => send("/api/session", { method: "POST", headers: { Authorization: `Bearer ${key}` } }),
};

export const images = {
  list: (query: Query, signal?: AbortSignal) =>
    call<Page<Image>>("/api/images", signal ? { query, signal } : { query }),
  meta: (id: string) => call<Image>(`/api/images/${part(id)}/meta`),
  remake: (id: string) => call<Remake>(`/api/images/${part(id)}/remake`),
  remakeFile: (body: Blob) => call<Remake>("/api/images/remake", { method: "POST", body }),
  importFile: (body: Blob) => call<{ image: Image; new: boolean }>("/api/images/import", { method: "POST", body }),
  edit: (id: string, json: ImageEdit) => call<Image>(`/api/images/${part(id)}/edit`, { method: "POST", json }),
  remove: (id: string) => call<{ id: string }>(`/api/images/${part(id)}`, { method: "DELETE" }),
  restore: (id: string) => call<Image>(`/api/images/${part(id)}/restore`, { method: "POST" }),
  emptyTrash: () => call<Job>("/api/images/cleanup", { method: "POST", json: { empty_trash: true } }),
  url: (id: string) => `/api/images/${part(id)}`,
  thumbnail: (id: string, size: 256 | 512) => `/api/images/${part(id)}/thumbnail?size=${size}`,
  exportUrl: (query: Query) => `/api/images/export${queryString(query)}`,
};

export const models = {
  list: () => all<ModelEntry>("/api/models"),
  switchTo: (model: string) => call<Job>("/api/models/switch", { method: "POST", json: { model } }),
  options: (model: string | null) => call<Options>("/api/models/options", { query: { model } }),
  loras: (query: string, signal: AbortSignal) =>
    call<Page<LoraEntry>>("/api/loras", { query: { query, limit: 100 }, signal }),
};

export const jobs = {
  list: (limit: number, cursor: string | null) => call<Page<Job>>("/api/jobs", { query: { limit, cursor } }),
  get: (id: string) => call<Job>(`/api/jobs/${part(id)}`),
  act: (id: string, verb: "cancel" | "pause" | "resume") =>
    call<Job>(`/api/jobs/${part(id)}/${verb}`, { method: "POST" }),
};

export const library = {
  files: (query: Query, signal?: AbortSignal) =>
    call<Page<ModelFile>>("/api/db/files", signal ? { query, signal } : { query }),
  stats: () => call<LibraryStats>("/api/db/stats"),
  scan: () => call<Job>("/api/db/scan", { method: "POST", json: {} }),
  link: () => call<Job>("/api/db/link", { method: "POST", json: {} }),
};

export const catalog = {
  search: (query: Query, signal?: AbortSignal) =>
    call<Page<Found>>("/api/catalog/search", signal ? { query, signal } : { query }),
  plan: (json: DownloadRequest) => call<DownloadPlan>("/api/download/plan", { method: "POST", json }),
  download: (json: DownloadRequest) => call<Job>("/api/download", { method: "POST", json }),
};

/** `crypto.randomUUID` is not there on pages that come over plain http from another machine. */
function randomKey(): string {
  return Array.from(crypto.getRandomValues(new Uint32Array(4)), (word) => word.toString(16)).join("-");
}

async function all<T>(path: string): Promise<T[]> {
  const items: T[] = [];
  let cursor: string | null = null;
  do {
    const page: Page<T> = await call<Page<T>>(path, { query: { limit: 500, cursor } });
    items.push(...page.items);
    cursor = page.next_cursor;
  } while (cursor);
  return items;
}
