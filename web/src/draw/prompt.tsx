import { useId } from "preact/hooks";
import { change, form, options } from "../form/state";
import { Loras } from "./loras";
import { ModelPicker } from "./model";
import { Start } from "./start";

export function PromptFields() {
  const id = useId();
  const { prompt, negative } = form.value;
  return (
    <>
      <ModelPicker />
      <div class="field">
        <label for={`${id}-prompt`}>Prompt</label>
        <textarea
          id={`${id}-prompt`}
          class="prompt"
          rows={5}
          maxLength={20_000}
          placeholder="What the picture shows"
          aria-keyshortcuts="Control+Enter"
          value={prompt}
          onInput={({ currentTarget }) => change({ prompt: currentTarget.value })}
        />
      </div>
      <div class="field">
        <label for={`${id}-negative`}>Negative prompt</label>
        <textarea
          id={`${id}-negative`}
          class={negative === null ? "as-default" : ""}
          rows={2}
          maxLength={20_000}
          placeholder="What it must not show"
          value={negative ?? options.value?.defaults.negative_prompt ?? ""}
          onInput={({ currentTarget }) => change({ negative: currentTarget.value })}
        />
      </div>
      <div class="extras">
        <Loras />
        <Start />
      </div>
    </>
  );
}
