/** Short messages in the corner. */
import { signal } from "@preact/signals";
import { ApiError } from "../api/http";

export interface Toast {
  id: number;
  text: string;
  hint: string | null;
  bad: boolean;
  action: { name: string; run: () => void } | null;
}

export const toasts = signal<readonly Toast[]>([]);

let last = 0;

export function dismiss(id: number): void {
  toasts.value = toasts.value.filter((toast) => toast.id !== id);
}

function add(toast: Omit<Toast, "id">, seconds: number): void {
  const id = ++last;
  toasts.value = [...toasts.value.slice(-3), { ...toast, id }];
  setTimeout(() => dismiss(id), seconds * 1000);
}

export function tell(text: string, action: Toast["action"] = null, hint: string | null = null): void {
  add({ text, hint, bad: false, action }, action ? 10 : 5);
}

export function complain(problem: unknown): void {
  if (problem instanceof DOMException && problem.name === "AbortError") return;
  if (problem instanceof ApiError) {
    // The dialog that asks for the key says it already.
    if (problem.status === 401) return;
    const fields = problem.fields.map(({ field, message }) => `${field}: ${message}`).join("; ");
    add({ text: sentence(fields || problem.message), hint: problem.hint, bad: true, action: null }, 12);
  } else {
    add({ text: sentence(String(problem)), hint: null, bad: true, action: null }, 12);
  }
}

/** Run what may fail; a failure is shown. */
export function attempt(work: () => Promise<unknown>): void {
  work().catch(complain);
}

/** With a capital at its beginning, unless it is a command. */
export function sentence(text: string): string {
  if (/^tsr /.test(text)) return text;
  return text.charAt(0).toUpperCase() + text.slice(1);
}
