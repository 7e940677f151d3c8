import { useEffect } from "preact/hooks";
import { Dialog } from "../ui/dialog";
import { keysShown, onKey, SHORTCUTS } from "./shortcuts";

export function Keys() {
  useEffect(() => {
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, []);
  if (!keysShown.value) return null;
  const close = () => {
    keysShown.value = false;
  };
  return (
    <Dialog name="Keys" head onClose={close} class="narrow">
      <dl class="keys">
        {SHORTCUTS.map(({ keys, what }) => (
          <div key={keys}>
            <dt>
              <kbd>{keys}</kbd>
            </dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
    </Dialog>
  );
}
