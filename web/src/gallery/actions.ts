/** What is done to pictures, one or many; the lists on the page follow at once. */
import { images } from "../api/api";
import type { ImageEdit, ImageHappening } from "../api/types";
import { lightboxHears } from "../lightbox/state";
import { attempt, complain, tell } from "../state/toasts";
import { plural } from "../ui/format";
import { gallery, recent } from "./store";

/** So many requests at once. */
const LANES = 4;

export function spread(happening: ImageHappening): void {
  gallery.hear(happening);
  recent.hear(happening);
  lightboxHears(happening);
}

export async function edit(id: string, change: ImageEdit): Promise<void> {
  spread({ change: "edited", image: await images.edit(id, change) });
}

export async function remove(ids: readonly string[]): Promise<void> {
  const gone = await each(ids, async (id) => {
    await images.remove(id);
    gallery.drop(id);
    recent.drop(id);
  });
  if (!gone.length) return;
  tell(`${gone.length === 1 ? "Picture" : plural(gone.length, "picture")} moved to the trash`, {
    name: "Undo",
    run: () => void restore(gone),
  });
}

export async function restore(ids: readonly string[]): Promise<void> {
  const back = await each(ids, async (id) => spread({ change: "restored", image: await images.restore(id) }));
  if (back.length) tell(`${back.length === 1 ? "Picture" : plural(back.length, "picture")} restored`);
}

/** What the keys `f` and `0` to `5` do to a picture; whether it was one of them. */
export function markByKey(key: string, { id, favourite }: { id: string; favourite: boolean }): boolean {
  if (key === "f") attempt(() => edit(id, { favourite: !favourite }));
  else if (/^[0-5]$/.test(key)) attempt(() => edit(id, { rating: Number(key) }));
  else return false;
  return true;
}

export async function addFavourites(ids: readonly string[]): Promise<void> {
  const done = await each(ids, (id) => edit(id, { favourite: true }));
  if (done.length) tell(`${plural(done.length, "favourite")} more`);
}

export async function addTags(ids: readonly string[], tags: readonly string[]): Promise<void> {
  const done = await each(ids, async (id) => {
    const { tags: old } = await images.meta(id);
    await edit(id, { tags: [...new Set([...old, ...tags])] });
  });
  if (done.length) tell(`${plural(done.length, "picture")} tagged`);
}

/** Do it to each, a few at once; those that it was done to. What fails is said. */
async function each(ids: readonly string[], act: (id: string) => Promise<void>): Promise<string[]> {
  const waiting = [...ids];
  const done: string[] = [];
  const problems: unknown[] = [];
  const lane = async () => {
    for (let id = waiting.shift(); id !== undefined; id = waiting.shift()) {
      try {
        await act(id);
        done.push(id);
      } catch (problem) {
        problems.push(problem);
      }
    }
  };
  await Promise.all(Array.from({ length: LANES }, lane));
  if (problems.length) complain(problems[0]);
  return done;
}
