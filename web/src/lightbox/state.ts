/** The picture in front, with all that is known about it. */
import { signal } from "@preact/signals";
import { images } from "../api/api";
import { ApiError } from "../api/http";
import type { Image, ImageHappening } from "../api/types";
import type { PictureStore } from "../gallery/store";
import { gallery, recent } from "../gallery/store";
import { route } from "../state/route";
import { complain } from "../state/toasts";

export const shown = signal<Image | null>(null);

export const missing = signal<string | null>(null);

export async function show(id: string): Promise<void> {
  if (shown.value?.id !== id) shown.value = null;
  missing.value = null;
  try {
    const image = await images.meta(id);
    if (route.value.image === id) shown.value = image;
  } catch (problem) {
    if (problem instanceof ApiError && problem.status === 404) missing.value = problem.message;
    else complain(problem);
  }
}

export function lightboxHears({ image }: ImageHappening): void {
  if (shown.value?.id === image.id) shown.value = image;
}

/** The list that is behind the picture. */
export function listBehind(): PictureStore {
  return route.value.view === "gallery" ? gallery : recent;
}

export interface Neighbours {
  before: string | null;
  after: string | null;
}

export function neighbours(store: PictureStore, id: string): Neighbours {
  void store.version.value;
  const index = store.indexOf(id);
  if (index < 0) return { before: null, after: null };
  return { before: store.at(index - 1)?.id ?? null, after: store.at(index + 1)?.id ?? null };
}
