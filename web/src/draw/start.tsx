import { useRef } from "preact/hooks";
import { ACCEPTED, base64Of, dataUrl } from "../form/picture";
import { change, form, inputs } from "../form/state";
import { attempt } from "../state/toasts";
import { Button, IconButton } from "../ui/button";
import { SliderField } from "../ui/fields";

/** A picture to start from (img2img), and a mask of what is drawn anew. */
export function Start() {
  const { init, mask } = inputs.value;
  const set = (name: "init" | "mask") => (file: File) =>
    attempt(async () => {
      inputs.value = { ...inputs.value, [name]: await base64Of(file) };
    });
  if (!init) {
    return (
      <div class="start">
        <Choose name="Start from a picture" onChoose={set("init")} />
      </div>
    );
  }
  return (
    <div class="start filled">
      <figure>
        <img src={dataUrl(init)} alt="What the drawing starts from" />
        <IconButton
          name="Remove the picture to start from"
          icon="close"
          onClick={() => {
            inputs.value = { init: null, mask: null };
          }}
        />
      </figure>
      <div class="stack">
        <SliderField
          label="Strength"
          value={form.value.strength}
          min={0}
          max={1}
          step={0.05}
          onChange={(strength) => change({ strength })}
        />
        {mask ? (
          <Button
            icon="close"
            onClick={() => {
              inputs.value = { init, mask: null };
            }}
          >
            Remove the mask
          </Button>
        ) : (
          <Choose name="Add a mask" onChoose={set("mask")} />
        )}
      </div>
    </div>
  );
}

function Choose({ name, onChoose }: { name: string; onChoose: (file: File) => void }) {
  const input = useRef<HTMLInputElement>(null);
  return (
    <>
      <Button icon="image" onClick={() => input.current?.click()}>
        {name}
      </Button>
      <input
        ref={input}
        type="file"
        hidden
        accept={ACCEPTED}
        aria-label={name}
        onChange={({ currentTarget }) => {
          const file = currentTarget.files?.[0];
          if (file) onChoose(file);
          currentTarget.value = "";
        }}
      />
    </>
  );
}
