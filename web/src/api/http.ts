/** One way to ask the server; every failure becomes an `ApiError`. */

export interface FieldProblem {
  field: string;
  message: string;
}

interface Wire {
  error?: { code?: string; message?: string; hint?: string | null; details?: { fields?: FieldProblem[] } | null };
}

export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly hint: string | null = null,
    readonly fields: readonly FieldProblem[] = [],
  ) {
    super(message);
  }
}

export type Query = Record<string, string | number | boolean | readonly string[] | null | undefined>;

export interface Ask {
  method?: "GET" | "POST" | "DELETE";
  query?: Query;
  json?: unknown;
  body?: Blob;
  headers?: Record<string, string>;
  signal?: AbortSignal;
}

let refused: () => void = () => undefined;

/** What happens when the server wants a key. */
export function onRefusal(act: () => void): void {
  refused = act;
}

export function queryString(query: Query = {}): string {
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value === null || value === undefined || value === "") continue;
    if (Array.isArray(value)) for (const item of value) params.append(name, item);
    else params.append(name, String(value));
  }
  const text = params.toString();
  return text ? `?${text}` : "";
}

async function failure(response: Response): Promise<ApiError> {
  const wire: Wire = await response.json().then(
    (value: Wire) => value,
    () => ({}),
  );
  const error = wire.error ?? {};
  return new ApiError(
    response.status,
    error.code ?? "unknown",
    error.message ?? `the server answered ${response.status}`,
    error.hint ?? null,
    error.details?.fields ?? [],
  );
}

export async function send(path: string, ask: Ask = {}): Promise<Response> {
  const { method = "GET", query, json, body, headers, signal } = ask;
  const init: RequestInit = { method, headers: { ...headers } };
  if (signal) init.signal = signal;
  if (json !== undefined) {
    init.body = JSON.stringify(json);
    init.headers = { "Content-Type": "application/json", ...headers };
  } else if (body) init.body = body;
  let response: Response;
  try {
    response = await fetch(path + queryString(query), init);
  } catch (problem) {
    if (signal?.aborted) throw problem;
    throw new ApiError(0, "unreachable", "the server does not answer", "is `tsr serve` still running?");
  }
  if (response.ok) return response;
  if (response.status === 401) refused();
  throw await failure(response);
}

export async function call<T>(path: string, ask: Ask = {}): Promise<T> {
  const response = await send(path, ask);
  return (response.status === 204 ? null : await response.json()) as T;
}
