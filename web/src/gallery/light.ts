/** The little that the grid needs to know of a picture. */
import type { Image } from "../api/types";

export interface Light {
  id: string;
  created: string;
  alt: string;
  width: number;
  height: number;
  favourite: boolean;
  rating: number;
  mature: boolean;
}

const MATURE = new Set(["mature", "nsfw", "explicit"]);

const ALT = 120;

export const isMature = (tags: readonly string[]) => tags.some((tag) => MATURE.has(tag.toLowerCase()));

/** A prompt as the name of its picture. */
export function shortened(prompt: string, length = ALT): string {
  const line = prompt.replace(/\s+/g, " ").trim();
  if (line.length <= length) return line || "Picture without a prompt";
  const cut = line.slice(0, length - 1);
  const space = cut.lastIndexOf(" ");
  return `${cut.slice(0, space > length / 2 ? space : undefined)}…`;
}

export function lightOf(image: Image): Light {
  return {
    id: image.id,
    created: image.created,
    alt: shortened(image.settings.prompt),
    width: image.width,
    height: image.height,
    favourite: image.favourite,
    rating: image.rating ?? 0,
    mature: isMature(image.tags),
  };
}
