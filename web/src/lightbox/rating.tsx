import { useId } from "preact/hooks";
import { plural } from "../ui/format";
import { Icon } from "../ui/icon";

const STARS = [1, 2, 3, 4, 5] as const;

/** One to five stars; the one that is set takes the rating away. */
export function Rating({ value, onChange }: { value: number; onChange: (value: number) => void }) {
  const group = useId();
  return (
    <div class="rating" role="radiogroup" aria-label="Rating">
      {STARS.map((stars) => (
        <label key={stars} class={stars <= value ? "star on" : "star"}>
          <input
            type="radio"
            name={group}
            aria-label={plural(stars, "star")}
            checked={stars === value}
            onClick={() => {
              if (stars === value) onChange(0);
            }}
            onChange={() => onChange(stars)}
          />
          <Icon name="star" filled={stars <= value} />
        </label>
      ))}
    </div>
  );
}
