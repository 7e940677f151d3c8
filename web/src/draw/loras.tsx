import { useState } from "preact/hooks";
import { models as api } from "../api/api";
import type { LoraEntry } from "../api/types";
import type { FormLora } from "../form/form";
import { withWords } from "../form/request";
import { change, form } from "../form/state";
import { Button, IconButton } from "../ui/button";
import { Dialog } from "../ui/dialog";
import { SliderField } from "../ui/fields";
import { bytes } from "../ui/format";
import { Icon } from "../ui/icon";
import { useSearch } from "../ui/search";
import { SearchField } from "../ui/search_field";

export function Loras() {
  const [picking, setPicking] = useState(false);
  const { loras } = form.value;
  const put = (next: FormLora[]) => change({ loras: next });
  return (
    <div class="loras">
      {loras.map((lora, index) => (
        <div key={lora.name} class="lora">
          <SliderField
            label={lora.name}
            value={lora.weight}
            min={-1}
            max={2}
            step={0.05}
            onChange={(weight) => put(loras.map((other, at) => (at === index ? { ...other, weight } : other)))}
          />
          <IconButton
            name={`Remove LoRA ${lora.name}`}
            icon="close"
            onClick={() => put(loras.filter((_, at) => at !== index))}
          />
          <Words words={lora.words} />
        </div>
      ))}
      <Button icon="plus" onClick={() => setPicking(true)}>
        Add LoRA
      </Button>
      {picking && <Picker onClose={() => setPicking(false)} />}
    </div>
  );
}

/** Trigger words; a click puts them into the prompt. */
function Words({ words }: { words: readonly string[] }) {
  if (!words.length) return null;
  return (
    <p class="words">
      {words.map((word) => (
        <button
          key={word}
          type="button"
          class="chip"
          title="Put into the prompt"
          onClick={() => change({ prompt: withWords(form.value.prompt, word) })}
        >
          <Icon name="plus" />
          {word}
        </button>
      ))}
    </p>
  );
}

function Picker({ onClose }: { onClose: () => void }) {
  const { text, setText, found } = useSearch((query, stop) => api.loras(query, stop));
  const items = [...(found?.items ?? [])].sort((a, b) => Number(b.fits !== false) - Number(a.fits !== false));
  const add = ({ name, words }: LoraEntry) => {
    const others = form.value.loras.filter((lora) => lora.name !== name);
    change({ loras: [...others, { name, weight: 1, words: [...words] }] });
    onClose();
  };
  return (
    <Dialog name="Add a LoRA" head onClose={onClose}>
      <div class="stack">
        <SearchField label="Search LoRAs" value={text} onInput={setText} />
        <ul class="rows" role="list">
          {items.map((lora) => (
            <li key={lora.name}>
              <button type="button" class="row" disabled={lora.problem !== null} onClick={() => add(lora)}>
                <b>{lora.name}</b>
                <small>
                  {[lora.family, bytes(lora.size), lora.problem, lora.fits === false && "not for this model"]
                    .filter(Boolean)
                    .join(" · ")}
                </small>
                {lora.words.length > 0 && <small class="dim">{lora.words.slice(0, 6).join(", ")}</small>}
              </button>
            </li>
          ))}
        </ul>
        {found && !items.length && (
          <p class="quiet">{text ? "Nothing fits." : "There are no LoRAs yet. Get some in the Library."}</p>
        )}
      </div>
    </Dialog>
  );
}
