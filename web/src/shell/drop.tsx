import { useEffect, useState } from "preact/hooks";
import { images } from "../api/api";
import { pictureOf } from "../form/picture";
import { startFrom, useRemake } from "../form/state";
import { go, imageHref } from "../state/route";
import { attempt, tell } from "../state/toasts";
import { Button } from "../ui/button";
import { Dialog, depth } from "../ui/dialog";

/** Any picture file can be dropped or pasted anywhere: what is to be done with it is asked then. */
export function DropZone() {
  const [over, setOver] = useState(false);
  const [picture, setPicture] = useState<File | null>(null);

  useEffect(() => {
    let inside = 0;
    const carries = (event: DragEvent) => event.dataTransfer?.types.includes("Files") && depth.value === 0;
    const enter = (event: DragEvent) => {
      if (!carries(event)) return;
      inside += 1;
      setOver(true);
    };
    const leave = (event: DragEvent) => {
      if (!carries(event)) return;
      inside -= 1;
      if (inside <= 0) setOver(false);
    };
    const above = (event: DragEvent) => {
      if (carries(event)) event.preventDefault();
    };
    const drop = (event: DragEvent) => {
      inside = 0;
      setOver(false);
      if (!carries(event) || event.defaultPrevented) return;
      event.preventDefault();
      offer(pictureOf(event.dataTransfer));
    };
    const paste = (event: ClipboardEvent) => {
      const pasted = depth.value === 0 ? pictureOf(event.clipboardData) : null;
      if (pasted) setPicture(pasted);
    };
    const offer = (dropped: File | null) => {
      if (dropped) setPicture(dropped);
      else tell("Only PNG, JPEG and WebP pictures can be used");
    };
    addEventListener("dragenter", enter);
    addEventListener("dragleave", leave);
    addEventListener("dragover", above);
    addEventListener("drop", drop);
    addEventListener("paste", paste);
    return () => {
      removeEventListener("dragenter", enter);
      removeEventListener("dragleave", leave);
      removeEventListener("dragover", above);
      removeEventListener("drop", drop);
      removeEventListener("paste", paste);
    };
  }, []);

  return (
    <>
      {over && <div class="drop-hint">Drop the picture anywhere</div>}
      {picture && <Dropped picture={picture} onDone={() => setPicture(null)} />}
    </>
  );
}

function Dropped({ picture, onDone }: { picture: File; onDone: () => void }) {
  const [url, setUrl] = useState<string | null>(null);
  useEffect(() => {
    const made = URL.createObjectURL(picture);
    setUrl(made);
    return () => URL.revokeObjectURL(made);
  }, [picture]);

  const act = (work: () => Promise<void>) => () =>
    attempt(async () => {
      await work();
      onDone();
    });

  return (
    <Dialog name="What to do with this picture?" head onClose={onDone} class="narrow">
      <div class="stack">
        {url && <img class="dropped" src={url} alt={picture.name} />}
        <Button kind="primary" icon="sliders" onClick={act(async () => useRemake(await images.remakeFile(picture)))}>
          Use its settings
        </Button>
        <Button icon="image" onClick={act(() => startFrom(picture))}>
          Start from it
        </Button>
        <Button
          icon="download"
          onClick={act(async () => {
            const { image, new: fresh } = await images.importFile(picture);
            tell(fresh ? "Imported" : "The gallery has it already", {
              name: "Show",
              run: () => go(imageHref(image.id)),
            });
          })}
        >
          Import into the gallery
        </Button>
      </div>
    </Dialog>
  );
}
