import { useState } from "preact/hooks";
import { catalog } from "../api/api";
import { ApiError } from "../api/http";
import type { Found } from "../api/types";
import { Button } from "../ui/button";
import { SelectField, Switch } from "../ui/fields";
import { compact } from "../ui/format";
import { Icon } from "../ui/icon";
import { Problem } from "../ui/problem";
import { SearchField } from "../ui/search_field";
import { Download } from "./download";
import { useList } from "./list";

const PROVIDERS = [
  { value: "civitai", name: "CivitAI" },
  { value: "huggingface", name: "Hugging Face" },
];
const TYPES = ["Checkpoint", "LORA", "LoCon", "DoRA", "TextualInversion", "VAE", "Controlnet", "Upscaler"];
const SORTS = ["Most Downloaded", "Highest Rated", "Newest"];
const PAGE = 20;

interface Asked {
  query: string;
  provider: string;
  type: string;
  sort: string;
  nsfw: boolean;
}

export function Catalog() {
  const [form, setForm] = useState<Asked>({ query: "", provider: "civitai", type: "", sort: "", nsfw: false });
  const [asked, setAsked] = useState<Asked | null>(null);
  const list = useList<Found>(asked && JSON.stringify(asked), (cursor, stop) => {
    const { nsfw, ...rest } = asked ?? form;
    const isCivitai = rest.provider === "civitai";
    return catalog.search({ ...rest, ...(isCivitai ? { nsfw } : { type: "", sort: "" }), limit: PAGE, cursor }, stop);
  });
  const isCivitai = form.provider === "civitai";
  return (
    <>
      <search>
        <form
          class="toolbar-row"
          onSubmit={(event) => {
            event.preventDefault();
            setAsked({ ...form });
          }}
        >
          <SearchField
            label="Search models"
            placeholder="Search models, or paste an address"
            value={form.query}
            onInput={(query) => setForm({ ...form, query })}
          />
          <SelectField
            label="Site"
            value={form.provider}
            choices={PROVIDERS}
            onChange={(provider) => setForm({ ...form, provider })}
          />
          {isCivitai && (
            <>
              <SelectField
                label="Type"
                value={form.type}
                choices={[{ value: "", name: "All" }, ...TYPES.map((value) => ({ value, name: value }))]}
                onChange={(type) => setForm({ ...form, type })}
              />
              <SelectField
                label="Order"
                value={form.sort}
                choices={[{ value: "", name: "Best match" }, ...SORTS.map((value) => ({ value, name: value }))]}
                onChange={(sort) => setForm({ ...form, sort })}
              />
              <Switch label="Mature too" on={form.nsfw} onChange={(nsfw) => setForm({ ...form, nsfw })} />
            </>
          )}
          <button type="submit" class="button primary">
            <Icon name="search" />
            Search
          </button>
        </form>
      </search>
      {isTarget(form.query) && (
        <article class="file" aria-label="Address">
          <div class="file-words">
            <p class="file-name">{form.query.trim()}</p>
          </div>
          <Download target={form.query.trim()} name={form.query.trim()} here={0} />
        </article>
      )}
      <ul class="files" role="list" aria-label="Models found" aria-busy={list.busy}>
        {list.items.map((found) => (
          <li key={`${found.provider} ${found.id}`}>
            <FoundRow found={found} />
          </li>
        ))}
      </ul>
      {list.busy && <p class="quiet">Asking {PROVIDERS.find(({ value }) => value === form.provider)?.name}…</p>}
      {list.failed instanceof ApiError && (
        <p class="problem">
          <Problem error={list.failed} />
        </p>
      )}
      {asked && !list.busy && !list.failed && !list.items.length && <p class="empty-list">Nothing was found.</p>}
      {!asked && !isTarget(form.query) && (
        <p class="empty-list">
          Search CivitAI or Hugging Face, or paste the address of a model. This server asks them, not your browser.
        </p>
      )}
      {list.more && <Button onClick={list.more}>More models</Button>}
    </>
  );
}

/** An address, an AIR, or a name with its site. */
export function isTarget(text: string): boolean {
  return /^(https?:\/\/|urn:air:|air:|hf:)\S+$/.test(text.trim());
}

function FoundRow({ found }: { found: Found }) {
  const { id, provider, name, type, creator, base_models: bases, downloads, here, url } = found;
  const target = provider === "huggingface" && !id.startsWith("hf:") ? `hf:${id}` : id;
  const facts = [type, bases.slice(0, 3).join(", "), creator && `by ${creator}`, `${compact(downloads)} downloads`];
  return (
    <article class="file" aria-label={name}>
      <div class="file-words">
        <p class="file-name">
          <a href={url} target="_blank" rel="noreferrer">
            {name}
          </a>
        </p>
        <p class="quiet">{facts.filter(Boolean).join(" · ")}</p>
        {here > 0 && <p class="here">In the library</p>}
      </div>
      <Download target={target} name={name} here={here} />
    </article>
  );
}
