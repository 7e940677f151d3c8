import { sentence } from "../state/toasts";

/** What went wrong, and what to do about it. */
export function Problem({ error }: { error: { message: string; hint: string | null } }) {
  return (
    <>
      {sentence(error.message)}
      {error.hint && <small>{sentence(error.hint)}</small>}
    </>
  );
}
