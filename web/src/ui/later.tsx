import type { ComponentType } from "preact";
import { useEffect, useState } from "preact/hooks";
import { attempt } from "../state/toasts";

/** A part of the page that is fetched when it is shown for the first time. */
export function later(load: () => Promise<ComponentType>): ComponentType {
  let known: ComponentType | null = null;
  return function Later() {
    const [Part, setPart] = useState<ComponentType | null>(() => known);
    useEffect(() => {
      if (Part) return;
      attempt(async () => {
        known = await load();
        setPart(() => known);
      });
    }, [Part]);
    return Part ? <Part /> : <p class="quiet">Loading…</p>;
  };
}
