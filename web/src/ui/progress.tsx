import type { Progress } from "../api/types";
import { share } from "./format";

/** How far a job is. Of a drawing the steps are said, of other work the hundredths. */
export function ProgressBar({ name, progress }: { name: string; progress: Progress | null }) {
  const part = share(progress);
  const steps = progress?.steps ?? 0;
  const values =
    part === null
      ? {}
      : steps && !progress?.total
        ? { "aria-valuenow": progress?.step ?? 0, "aria-valuemax": steps }
        : { "aria-valuenow": Math.round(part * 100), "aria-valuemax": 100 };
  return (
    <div
      class={part === null ? "bar unknown" : "bar"}
      role="progressbar"
      aria-label={name}
      aria-valuemin={0}
      {...values}
    >
      <div class="bar-done" style={{ transform: `scaleX(${part ?? 1})` }} />
    </div>
  );
}
