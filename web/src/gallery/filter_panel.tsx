import type { TargetedEvent } from "preact";
import { useId } from "preact/hooks";
import { models } from "../state/server";
import { SelectField, Switch } from "../ui/fields";
import { Tags } from "../ui/tags";
import { type Filters, NO_FILTERS } from "./filters";

interface PanelProps {
  filters: Filters;
  onChange: (filters: Filters) => void;
}

export function FilterPanel({ filters, onChange }: PanelProps) {
  const set = (part: Partial<Filters>) => onChange({ ...filters, ...part });
  const names = [...new Set([...models.value.map((model) => model.name), ...(filters.model ? [filters.model] : [])])];
  return (
    <section class="filters" id="filters" aria-label="Filters">
      <SelectField
        label="Made with model"
        value={filters.model}
        choices={[{ value: "", name: "Any model" }, ...names.map((name) => ({ value: name, name }))]}
        onChange={(model) => set({ model })}
      />
      <Words label="LoRA" type="text" value={filters.lora} onChange={(lora) => set({ lora })} />
      <SelectField
        label="At least"
        value={String(filters.rating)}
        choices={[
          { value: "0", name: "Any rating" },
          ...[1, 2, 3, 4, 5].map((stars) => ({ value: String(stars), name: "★".repeat(stars) })),
        ]}
        onChange={(rating) => set({ rating: Number(rating) })}
      />
      <Words label="From" type="date" value={filters.since} onChange={(since) => set({ since })} />
      <Words label="To" type="date" value={filters.until} onChange={(until) => set({ until })} />
      <div class="field">
        <span class="label">Tags</span>
        <Tags label="With tag" tags={filters.tags} onChange={(tags) => set({ tags })} />
      </div>
      <Switch label="Favourites only" on={filters.favourite} onChange={(favourite) => set({ favourite })} />
      <button type="button" class="link" onClick={() => onChange({ ...NO_FILTERS, text: filters.text })}>
        Clear all
      </button>
    </section>
  );
}

interface WordsProps {
  label: string;
  type: "text" | "date";
  value: string;
  onChange: (value: string) => void;
}

function Words({ label, type, value, onChange }: WordsProps) {
  const id = useId();
  const change = ({ currentTarget }: TargetedEvent<HTMLInputElement>) => onChange(currentTarget.value.trim());
  return (
    <div class="field">
      <label for={id}>{label}</label>
      {type === "date" ? (
        <input id={id} type="date" value={value} onChange={change} />
      ) : (
        <input id={id} type="text" value={value} onChange={change} />
      )}
    </div>
  );
}
