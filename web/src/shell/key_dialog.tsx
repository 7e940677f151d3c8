import { useId, useState } from "preact/hooks";
import { ApiError } from "../api/http";
import { enter } from "../state/session";
import { sentence } from "../state/toasts";
import { Dialog } from "../ui/dialog";

export function KeyDialog() {
  const id = useId();
  const [key, setKey] = useState("");
  const [problem, setProblem] = useState("");
  const [busy, setBusy] = useState(false);

  const submit = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    try {
      await enter(key.trim());
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      setProblem(sentence(error.message));
      setBusy(false);
    }
  };

  return (
    <Dialog name="API key" head firm onClose={() => undefined} class="narrow">
      <form class="stack" onSubmit={submit}>
        <p class="quiet">
          This server wants a key. It is asked for once; the browser then keeps a cookie for this server.
        </p>
        <div class="field">
          <label for={id}>API key</label>
          <input
            id={id}
            type="password"
            autocomplete="current-password"
            required
            aria-describedby={`${id}-problem`}
            value={key}
            onInput={({ currentTarget }) => setKey(currentTarget.value)}
          />
        </div>
        <p id={`${id}-problem`} class="problem" role="alert">
          {problem}
        </p>
        <button type="submit" class="button primary" disabled={busy || !key.trim()}>
          Continue
        </button>
      </form>
    </Dialog>
  );
}
