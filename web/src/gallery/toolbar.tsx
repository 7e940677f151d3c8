import { useEffect, useRef, useState } from "preact/hooks";
import { images } from "../api/api";
import { blur, tileSize } from "../state/preferences";
import { hrefOf, replace, route } from "../state/route";
import { status } from "../state/server";
import { Button } from "../ui/button";
import { Switch } from "../ui/fields";
import { plural } from "../ui/format";
import { Icon } from "../ui/icon";
import { SearchField } from "../ui/search_field";
import { useSettled } from "../ui/settled";
import { EmptyTrash } from "./empty_trash";
import { FilterPanel } from "./filter_panel";
import { apiQuery, countOf, type Filters, filtersOf, queryOf } from "./filters";
import { clear, selecting } from "./selection";
import { gallery } from "./store";

export function Toolbar() {
  const filters = filtersOf(route.value.query);
  const [open, setOpen] = useState(countOf(filters) > 0);
  const count = countOf(filters);
  return (
    <div class="toolbar">
      <div class="toolbar-row">
        {filters.trash ? (
          <a class="button plain" href="#/gallery">
            <Icon name="left" />
            All pictures
          </a>
        ) : (
          <>
            <SearchBox filters={filters} />
            <button
              type="button"
              class="button plain"
              aria-expanded={open}
              aria-controls="filters"
              onClick={() => setOpen(!open)}
            >
              <Icon name="filter" />
              Filters{count > 0 && <span class="count">{count}</span>}
            </button>
          </>
        )}
        <Count filters={filters} />
      </div>
      <div class="toolbar-row tools">
        <Button
          icon="check"
          pressed={selecting.value}
          onClick={() => {
            if (selecting.value) clear();
            else selecting.value = true;
          }}
        >
          Select
        </Button>
        {filters.trash ? (
          <EmptyTrash />
        ) : (
          <>
            <a class="button plain" href="#/gallery?trash=true">
              <Icon name="trash" />
              Trash
            </a>
            <a class="button plain wide-only" href={images.exportUrl(apiQuery(filters))} download>
              <Icon name="download" />
              Export
            </a>
          </>
        )}
        <Switch
          label="Blur mature pictures"
          on={blur.value}
          onChange={(on) => {
            blur.value = on;
          }}
        />
        <label class="tile-size wide-only">
          <span class="visually-hidden">Size of the tiles</span>
          <input
            type="range"
            min={96}
            max={400}
            step={8}
            value={tileSize.value}
            onInput={({ currentTarget }) => {
              tileSize.value = currentTarget.valueAsNumber;
            }}
          />
        </label>
      </div>
      {open && !filters.trash && <FilterPanel filters={filters} onChange={setFilters} />}
    </div>
  );
}

function setFilters(filters: Filters): void {
  replace(hrefOf("gallery", queryOf(filters)));
}

function SearchBox({ filters }: { filters: Filters }) {
  const [text, setText] = useState(filters.text);
  const settled = useSettled(text);
  const last = useRef(filters.text);
  useEffect(() => {
    // The address has changed otherwise: by a link, or the back button.
    if (filters.text !== last.current) setText(filters.text);
    last.current = filters.text;
  }, [filters.text]);
  useEffect(() => {
    if (settled === last.current) return;
    last.current = settled;
    setFilters({ ...filtersOf(route.value.query), text: settled });
  }, [settled]);
  return (
    <SearchField
      label="Search pictures"
      title="Words of the prompt or the notes: cat, photo*, -dog"
      value={text}
      onInput={setText}
    />
  );
}

function Count({ filters }: { filters: Filters }) {
  void gallery.version.value;
  const all = queryOf(filters) === "" ? status.value?.images : undefined;
  const known = Math.max(all ?? 0, gallery.count);
  const more = gallery.open && all === undefined;
  return (
    <p class="quiet total" aria-live="polite">
      {more && !known ? "" : `${more ? "more than " : ""}${plural(known, "picture")}`}
    </p>
  );
}
