import { dismiss, sentence, toasts } from "../state/toasts";
import { IconButton } from "./button";

export function Toasts() {
  return (
    <div class="toasts" role="status" aria-live="polite">
      {toasts.value.map(({ id, text, hint, bad, action }) => (
        <div key={id} class={bad ? "toast bad" : "toast"}>
          <p>
            {text}
            {hint && <small>{sentence(hint)}</small>}
          </p>
          {action && (
            <button
              type="button"
              class="button plain"
              onClick={() => {
                dismiss(id);
                action.run();
              }}
            >
              {action.name}
            </button>
          )}
          <IconButton name="Dismiss" icon="close" onClick={() => dismiss(id)} />
        </div>
      ))}
    </div>
  );
}
