import { useEffect, useRef, useState } from "preact/hooks";
import { images } from "../api/api";
import { edit, markByKey, remove, restore } from "../gallery/actions";
import { isMature, shortened } from "../gallery/light";
import { isTyping } from "../shell/shortcuts";
import { blur } from "../state/preferences";
import { closeImage, imageHref, replace } from "../state/route";
import { attempt } from "../state/toasts";
import { Button, IconButton } from "../ui/button";
import { Dialog } from "../ui/dialog";
import { Details } from "./details";
import { listBehind, missing, neighbours, show, shown } from "./state";

/** A finger that goes so far sideways turns to the next picture, in pixels. */
const SWIPE = 60;

export function Lightbox({ id }: { id: string }) {
  const store = listBehind();
  const { before, after } = neighbours(store, id);
  /** The picture that is on its way to the trash. */
  const leaving = useRef<string | null>(null);
  const [side, setSide] = useState(true);

  useEffect(() => {
    attempt(() => show(id));
    const index = store.indexOf(id);
    if (index >= 0) store.need(index, index + 20);
  }, [id, store]);
  useEffect(() => {
    for (const near of [after, before]) if (near) new Image().src = images.url(near);
  }, [after, before]);

  const turn = (to: string | null) => {
    if (to) replace(imageHref(to));
  };
  const removeShown = () =>
    attempt(async () => {
      if (leaving.current === id) return;
      leaving.current = id;
      const next = after ?? before;
      await remove([id]).finally(() => {
        leaving.current = null;
      });
      if (next) turn(next);
      else closeImage();
    });
  const onKeyDown = (event: KeyboardEvent) => {
    if (isTyping(event) || event.ctrlKey || event.metaKey || event.altKey) return;
    const image = shown.value;
    if (event.key === "ArrowRight") turn(after);
    else if (event.key === "ArrowLeft") turn(before);
    else if (event.key === "i") setSide(!side);
    else if (!image || image.deleted) return;
    else if (event.key === "Delete") removeShown();
    else if (!markByKey(event.key, image)) return;
    event.preventDefault();
  };

  const image = shown.value?.id === id ? shown.value : null;
  return (
    <Dialog name="Picture" class={side ? "lightbox" : "lightbox bare"} onClose={closeImage} onKeyDown={onKeyDown}>
      <div class="lightbox-bar">
        {image && !image.deleted && (
          <IconButton
            name="Favourite"
            icon="heart"
            keys="f"
            class="favourite"
            pressed={image.favourite}
            onClick={() => attempt(() => edit(id, { favourite: !image.favourite }))}
          />
        )}
        {image &&
          (image.deleted ? (
            <Button icon="restore" onClick={() => attempt(() => restore([id]))}>
              Restore
            </Button>
          ) : (
            <IconButton name="Delete" icon="trash" keys="Delete" onClick={removeShown} />
          ))}
        <IconButton
          name="Details"
          icon="sliders"
          keys="i"
          class="wide-only"
          pressed={side}
          onClick={() => setSide(!side)}
        />
        <IconButton name="Close" icon="close" keys="Escape" onClick={closeImage} />
      </div>
      <Canvas
        key={id}
        id={id}
        alt={shortened(image?.settings.prompt ?? "", 300)}
        size={image}
        mature={image ? isMature(image.tags) : (store.at(store.indexOf(id))?.mature ?? false)}
        onSwipe={(direction) => turn(direction > 0 ? before : after)}
      />
      <IconButton
        name="Previous picture"
        icon="left"
        keys="ArrowLeft"
        class="turn previous"
        disabled={!before}
        onClick={() => turn(before)}
      />
      <IconButton
        name="Next picture"
        icon="right"
        keys="ArrowRight"
        class="turn next"
        disabled={!after}
        onClick={() => turn(after)}
      />
      <div class="side" hidden={!side}>
        {image ? <Details key={id} image={image} /> : <p class="quiet">{missing.value ?? "…"}</p>}
      </div>
    </Dialog>
  );
}

interface CanvasProps {
  id: string;
  alt: string;
  size: { width: number; height: number } | null;
  mature: boolean;
  onSwipe: (direction: number) => void;
}

function Canvas({ id, alt, size, mature, onSwipe }: CanvasProps) {
  const [large, setLarge] = useState(false);
  const [revealed, setRevealed] = useState(false);
  const start = useRef<{ x: number; y: number } | null>(null);
  const hidden = mature && blur.value && !revealed;
  return (
    <div
      class={large ? "canvas large" : "canvas"}
      onTouchStart={({ touches: [touch] }) => {
        start.current = touch && !large ? { x: touch.clientX, y: touch.clientY } : null;
      }}
      onTouchEnd={({ changedTouches: [touch] }) => {
        if (!start.current || !touch) return;
        const [across, down] = [touch.clientX - start.current.x, touch.clientY - start.current.y];
        if (Math.abs(across) > SWIPE && Math.abs(across) > 2 * Math.abs(down)) onSwipe(across);
      }}
    >
      <button
        type="button"
        class="zoom"
        aria-label={hidden ? "Show this mature picture" : large ? "Fit into the window" : "Show in full size"}
        onClick={() => (hidden ? setRevealed(true) : setLarge(!large))}
      >
        <img class={hidden ? "blurred" : ""} src={images.url(id)} alt={alt} width={size?.width} height={size?.height} />
        {hidden && <span class="reveal">Mature · show</span>}
      </button>
    </div>
  );
}
