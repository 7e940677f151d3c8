import { useRef } from "preact/hooks";
import { imageHref } from "../state/route";
import { attempt } from "../state/toasts";
import { Button } from "../ui/button";
import { Icon } from "../ui/icon";
import { Thumb } from "../ui/thumb";
import { restore } from "./actions";
import type { Light } from "./light";
import { extend, selected, selecting, toggle } from "./selection";
import type { PictureStore } from "./store";

interface TileProps {
  store: PictureStore;
  picture: Light | undefined;
  index: number;
  x: number;
  y: number;
  size: number;
}

export function Tile({ store, picture, index, x, y, size }: TileProps) {
  const withShift = useRef(false);
  const style = { transform: `translate(${x}px, ${y}px)`, width: `${size}px`, height: `${size}px` };
  if (!picture) return <li class="tile empty" style={style} data-index={index} aria-hidden="true" />;
  const { id, alt, favourite, rating, mature } = picture;
  const chosen = selected.value.has(id);

  const select = () => {
    if (withShift.current) extend(index, (place) => store.at(place)?.id);
    else toggle(id, index);
  };
  const click = (event: MouseEvent) => {
    if (!selecting.value && !event.shiftKey) return;
    event.preventDefault();
    withShift.current = event.shiftKey;
    select();
  };

  return (
    <li class={`tile ${chosen ? "chosen" : ""}`} style={style} data-index={index}>
      {store.filters.trash ? (
        // The server shows no more of it than this.
        <Thumb id={id} alt={alt} mature={mature} width={size} />
      ) : (
        <a href={imageHref(id)} onClick={click}>
          <Thumb id={id} alt={alt} mature={mature} width={size} />
        </a>
      )}
      {(favourite || rating > 0) && (
        <p class="marks" aria-hidden="true">
          {rating > 0 && (
            <span>
              <Icon name="star" filled />
              {rating}
            </span>
          )}
          {favourite && <Icon name="heart" filled />}
        </p>
      )}
      <label class={selecting.value ? "pick always" : "pick"}>
        <input
          type="checkbox"
          aria-label={`Select ${alt}`}
          checked={chosen}
          onClick={(event) => {
            withShift.current = event.shiftKey;
          }}
          onChange={(event) => {
            select();
            // Of a range, this one stays as it was.
            event.currentTarget.checked = selected.value.has(id);
          }}
        />
      </label>
      {store.filters.trash && (
        <div class="tile-action">
          <Button icon="restore" onClick={() => attempt(() => restore([id]))}>
            Restore
          </Button>
        </div>
      )}
    </li>
  );
}
