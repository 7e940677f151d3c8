import { images } from "../api/api";
import { change, form } from "../form/state";
import { recent } from "../gallery/store";
import { attempt } from "../state/toasts";
import { IconButton } from "../ui/button";
import { NumberField } from "../ui/fields";

const MAX_SEED = 2 ** 31 - 1;

export function Seed() {
  const { seed } = form.value;
  void recent.version.value;
  const last = recent.at(0);
  return (
    <div class="seed">
      <NumberField
        label="Seed"
        value={seed}
        min={-1}
        max={MAX_SEED}
        placeholder="random"
        onChange={(value) => change({ seed: value === null || value < 0 ? null : value })}
      />
      <IconButton name="Random seed" icon="dice" disabled={seed === null} onClick={() => change({ seed: null })} />
      <IconButton
        name="Reuse the last seed"
        icon="reuse"
        disabled={!last}
        onClick={() =>
          attempt(async () => {
            if (last) change({ seed: (await images.meta(last.id)).settings.seed });
          })
        }
      />
    </div>
  );
}
