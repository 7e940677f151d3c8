import { draw, form, notes, refusal, sending } from "../form/state";
import { attempt, sentence } from "../state/toasts";
import { IconButton } from "../ui/button";
import { Icon } from "../ui/icon";

export function DrawBar() {
  const { prompt, batch } = form.value;
  return (
    <div class="draw-bar">
      <Notes />
      <Refusal />
      <button
        type="button"
        class="button primary draw-button"
        aria-disabled={!prompt.trim() || sending.value}
        title="Draw (Ctrl Enter)"
        onClick={begin}
      >
        <Icon name="draw" />
        Draw
        {batch > 1 && <span aria-hidden="true">{batch} pictures</span>}
        <span class="key wide-only" aria-hidden="true">
          Ctrl ↵
        </span>
      </button>
    </div>
  );
}

function begin(): void {
  if (!form.value.prompt.trim()) {
    document.querySelector<HTMLElement>("textarea.prompt")?.focus();
    return;
  }
  attempt(draw);
  // On a phone the form fills the window: what happens is further up or down.
  if (matchMedia("(max-width: 760px)").matches)
    document.querySelector(".stage")?.scrollIntoView({ behavior: "smooth" });
}

function Refusal() {
  const problem = refusal.value;
  return (
    <div role="alert">
      {problem && (
        <div class="notice bad">
          <p>
            {sentence(problem.message)}
            {problem.fields.map(({ field, message }) => (
              <small key={field}>
                {field}: {message}
              </small>
            ))}
            {problem.hint && <small>{sentence(problem.hint)}</small>}
          </p>
          <IconButton
            name="Dismiss"
            icon="close"
            onClick={() => {
              refusal.value = null;
            }}
          />
        </div>
      )}
    </div>
  );
}

function Notes() {
  if (!notes.value.length) return null;
  return (
    <div class="notice">
      <ul>
        {notes.value.map(({ text, command }) => (
          <li key={text}>
            {text}
            {command && (
              <>
                {" "}
                <code>{command}</code>
              </>
            )}
          </li>
        ))}
      </ul>
      <IconButton
        name="Dismiss the notes"
        icon="close"
        onClick={() => {
          notes.value = [];
        }}
      />
    </div>
  );
}
