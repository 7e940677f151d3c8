/** The API's types under short names. `schema.d.ts` is generated: `make web`. */
import type { components } from "./schema";

type Schemas = components["schemas"];

/** An answer as it arrives: the server writes every field, so that nothing is left out. */
type Answer<T> = T extends readonly (infer Item)[]
  ? Answer<Item>[]
  : T extends object
    ? { [Key in keyof T]-?: Answer<Exclude<T[Key], undefined>> }
    : T;

export interface Page<T> {
  items: T[];
  next_cursor: string | null;
}

export type Image = Answer<Schemas["Image"]>;
export type Settings = Answer<Schemas["Settings"]>;
export type Job = Answer<Schemas["Job"]>;
export type JobEvent = Answer<Schemas["JobEvent"]>;
export type Progress = Answer<Schemas["Progress"]>;
export type ErrorInfo = Answer<Schemas["ErrorInfo"]>;
export type ModelEntry = Answer<Schemas["ModelEntry"]>;
export type LoraEntry = Answer<Schemas["LoraEntry"]>;
export type Status = Answer<Schemas["Status"]>;
export type File = Answer<Schemas["File"]>;
export type Found = Answer<Schemas["Found"]>;
export type DownloadPlan = Answer<Schemas["DownloadPlan"]>;
export type PlannedFile = Answer<Schemas["PlannedFile"]>;
export type LibraryStats = Answer<Schemas["LibraryStats"]>;
export type GenerateRequest = Partial<Omit<Schemas["GenerateBody"], "prompt">> & { prompt: string };
export type DownloadRequest = Partial<Schemas["DownloadRequest"]>;

export type ImageEdit = Partial<Schemas["ImageEdit"]>;
export type Options = Answer<Schemas["Options"]>;
export type Session = Answer<Schemas["Session"]>;
export type Remake = Omit<Answer<Schemas["Remake"]>, "request"> & { request: GenerateRequest };

export interface ImageHappening {
  change: "saved" | "imported" | "edited" | "deleted" | "restored";
  image: Image;
}
