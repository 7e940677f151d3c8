import { signal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { IconButton } from "./button";
import { Toasts } from "./toasts";

/** How many dialogs are open, one in front of the other. */
export const depth = signal(0);

interface DialogProps {
  name: string;
  onClose: () => void;
  class?: string;
  /** Show its name and a button that closes it. */
  head?: boolean;
  /** It can only be answered. */
  firm?: boolean;
  onKeyDown?: (event: KeyboardEvent) => void;
  children: ComponentChildren;
}

export function Dialog({ name, onClose, class: extra = "", head, firm, onKeyDown, children }: DialogProps) {
  const ref = useRef<HTMLDialogElement>(null);
  const [level, setLevel] = useState(0);

  useLayoutEffect(() => {
    const dialog = ref.current;
    dialog?.showModal();
    depth.value = depth.peek() + 1;
    setLevel(depth.peek());
    return () => {
      depth.value = depth.peek() - 1;
      dialog?.close();
    };
  }, []);

  return (
    <dialog
      ref={ref}
      class={`dialog ${extra}`}
      aria-label={name}
      onKeyDown={onKeyDown}
      onCancel={(event) => {
        if (event.target !== ref.current) return;
        event.preventDefault();
        if (!firm) onClose();
      }}
      onClick={(event) => {
        if (event.target === ref.current && !firm) onClose();
      }}
    >
      <div class="dialog-body">
        {head && (
          <header class="dialog-head">
            <h2>{name}</h2>
            {!firm && <IconButton name="Close" icon="close" keys="Escape" onClick={onClose} />}
          </header>
        )}
        {children}
      </div>
      {/* What lies behind a dialog cannot be used: messages belong in front. */}
      {depth.value === level && <Toasts />}
    </dialog>
  );
}
