/** How the page looks, for whoever sits in front of it. */
import { computed, effect, signal } from "@preact/signals";
import { stored } from "./stored";

type Theme = "light" | "dark" | null;

const dark = matchMedia("(prefers-color-scheme: dark)");
const systemDark = signal(dark.matches);
dark.addEventListener("change", () => {
  systemDark.value = dark.matches;
});

/** Null follows the system. */
const chosen = stored<Theme>("theme", null, (value) => (value === "light" || value === "dark" ? value : null));

export const theme = computed(() => chosen.value ?? (systemDark.value ? "dark" : "light"));

export function toggleTheme(): void {
  const next = theme.value === "dark" ? "light" : "dark";
  chosen.value = next === (systemDark.value ? "dark" : "light") ? null : next;
}

effect(() => {
  if (chosen.value) document.documentElement.dataset.theme = chosen.value;
  else delete document.documentElement.dataset.theme;
});

export const blur = stored("blur", true, (value) => value !== false);

/** Least width of a tile of the gallery, in CSS pixels. */
export const tileSize = stored("tile", 176, (value) => (typeof value === "number" && value >= 80 ? value : 176));
