import { signal } from "@preact/signals";
import { Catalog } from "./catalog";
import { Files } from "./files";

type Tab = "files" | "catalog";

const tab = signal<Tab>("files");

const TABS: readonly { id: Tab; name: string }[] = [
  { id: "files", name: "On this machine" },
  { id: "catalog", name: "Find models" },
];

export function LibraryView() {
  return (
    <div class="page">
      <div class="page-head">
        <h1>Library</h1>
        <fieldset class="segments">
          <legend class="visually-hidden">Where</legend>
          {TABS.map(({ id, name }) => (
            <button
              key={id}
              type="button"
              aria-pressed={tab.value === id}
              onClick={() => {
                tab.value = id;
              }}
            >
              {name}
            </button>
          ))}
        </fieldset>
      </div>
      {tab.value === "files" ? <Files /> : <Catalog />}
    </div>
  );
}
