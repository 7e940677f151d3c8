import { useState } from "preact/hooks";
import { images } from "../api/api";
import type { Image } from "../api/types";
import { requestOf } from "../form/request";
import { startFromImage, useRemake } from "../form/state";
import { edit } from "../gallery/actions";
import { attempt, tell } from "../state/toasts";
import { Button } from "../ui/button";
import { when } from "../ui/format";
import { Icon } from "../ui/icon";
import { Tags } from "../ui/tags";
import { Facts } from "./facts";
import { Rating } from "./rating";

export function Details({ image }: { image: Image }) {
  const { id, settings, tags, deleted } = image;
  return (
    <>
      <section class="prompt-text">
        <h2>Prompt</h2>
        <p class="long">{settings.prompt || <span class="quiet">None</span>}</p>
        {settings.negative_prompt && (
          <details>
            <summary>Negative prompt</summary>
            <p class="long">{settings.negative_prompt}</p>
          </details>
        )}
      </section>
      <div class="actions">
        <Button kind="primary" icon="sliders" onClick={() => attempt(async () => useRemake(await images.remake(id)))}>
          Use these settings
        </Button>
        <Button icon="image" onClick={() => attempt(() => startFromImage(id))}>
          Use as init image
        </Button>
        <Copy name="Copy prompt" text={settings.prompt} />
        <Copy name="Copy settings" text={JSON.stringify(requestOf(settings), null, 2)} />
        <a class="button plain" href={images.url(id)} download={`${id}.${image.path.split(".").pop() ?? "png"}`}>
          <Icon name="download" />
          Download
        </a>
      </div>
      {!deleted && (
        <>
          <Rating value={image.rating ?? 0} onChange={(rating) => attempt(() => edit(id, { rating }))} />
          <section>
            <h2>Tags</h2>
            <Tags label="Add a tag" tags={tags} onChange={(next) => attempt(() => edit(id, { tags: next }))} />
          </section>
          <Notes image={image} />
        </>
      )}
      <Facts image={image} />
      <p class="quiet">
        {when(image.created)}
        {deleted && ` · in the trash since ${when(deleted)}`}
      </p>
    </>
  );
}

function Copy({ name, text }: { name: string; text: string }) {
  return (
    <Button
      icon="copy"
      onClick={() =>
        attempt(async () => {
          await copy(text);
          tell("Copied");
        })
      }
    >
      {name}
    </Button>
  );
}

/** The clipboard is there on https and localhost only; elsewhere the old way still works. */
async function copy(text: string): Promise<void> {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = document.createElement("textarea");
  area.value = text;
  // Inside the dialog: what is behind it cannot be focused.
  (document.querySelector("dialog[open]") ?? document.body).append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

function Notes({ image }: { image: Image }) {
  const [notes, setNotes] = useState(image.notes);
  return (
    <section>
      <h2 id="notes-name">Notes</h2>
      <textarea
        aria-labelledby="notes-name"
        rows={2}
        maxLength={10_000}
        value={notes}
        onInput={({ currentTarget }) => setNotes(currentTarget.value)}
        onBlur={() => {
          if (notes !== image.notes) attempt(() => edit(image.id, { notes }));
        }}
      />
    </section>
  );
}
