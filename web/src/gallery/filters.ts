/** The gallery's filters, as they stand in the address. */
import type { Query } from "../api/http";

export interface Filters {
  text: string;
  model: string;
  lora: string;
  tags: string[];
  rating: number;
  favourite: boolean;
  since: string;
  until: string;
  trash: boolean;
}

export const NO_FILTERS: Filters = {
  text: "",
  model: "",
  lora: "",
  tags: [],
  rating: 0,
  favourite: false,
  since: "",
  until: "",
  trash: false,
};

export function filtersOf(query: string): Filters {
  const params = new URLSearchParams(query);
  const rating = Number(params.get("rating"));
  return {
    text: params.get("text") ?? "",
    model: params.get("model") ?? "",
    lora: params.get("lora") ?? "",
    tags: params.getAll("tag"),
    rating: rating >= 1 && rating <= 5 ? Math.floor(rating) : 0,
    favourite: params.get("favourite") === "true",
    since: params.get("since") ?? "",
    until: params.get("until") ?? "",
    trash: params.get("trash") === "true",
  };
}

/** For the address of the page. */
export function queryOf(filters: Filters): string {
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(apiQuery(filters)))
    for (const item of Array.isArray(value) ? value : [value])
      params.append(name === "deleted" ? "trash" : name, String(item));
  return params.toString();
}

/** For the server. The trash takes no filters. */
export function apiQuery(filters: Filters): Query {
  if (filters.trash) return { deleted: true };
  const { text, model, lora, tags, rating, favourite, since, until } = filters;
  return {
    ...(text && { text }),
    ...(model && { model }),
    ...(lora && { lora }),
    ...(tags.length && { tag: tags }),
    ...(rating && { rating }),
    ...(favourite && { favourite }),
    ...(since && { since }),
    ...(until && { until }),
  };
}

/** How many are set, besides the words searched for. */
export function countOf(filters: Filters): number {
  const { model, lora, tags, rating, favourite, since, until } = filters;
  return [model, lora, tags.length, rating, favourite, since, until].filter(Boolean).length;
}
