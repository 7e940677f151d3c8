import { useState } from "preact/hooks";
import { catalog } from "../api/api";
import type { DownloadPlan, PlannedFile } from "../api/types";
import * as jobs from "../state/jobs";
import { attempt } from "../state/toasts";
import { Button } from "../ui/button";
import { Dialog } from "../ui/dialog";
import { bytes } from "../ui/format";
import { JobLine } from "./job_line";

interface DownloadProps {
  target: string;
  name: string;
  here: number;
}

/** What would be fetched is shown first: names, sizes, where to. */
export function Download({ target, name, here }: DownloadProps) {
  const [plan, setPlan] = useState<DownloadPlan | null>(null);
  const [busy, setBusy] = useState(false);
  const [job, setJob] = useState<string | null>(null);
  const look = () =>
    attempt(async () => {
      setBusy(true);
      try {
        setPlan(await catalog.plan({ target }));
      } finally {
        setBusy(false);
      }
    });
  const fetch = () =>
    attempt(async () => {
      setPlan(null);
      const begun = await catalog.download({ target });
      jobs.put(begun);
      setJob(begun.id);
    });
  const word = here ? "Download again" : "Download";
  if (job) return <JobLine id={job} />;
  return (
    <>
      <Button icon="download" disabled={busy} onClick={look} label={`${word} ${name}`}>
        {word}
      </Button>
      {plan && (
        <Dialog name={`Download ${name}`} head onClose={() => setPlan(null)}>
          <div class="stack">
            <ul class="plan" role="list">
              {plan.files.map((file) => (
                <li key={file.path}>
                  <b>{file.name}</b>
                  <span class="quiet">{[sizeOf(file), stateOf(file)].filter(Boolean).join(" · ")}</span>
                  <span class="quiet path">{file.path}</span>
                </li>
              ))}
            </ul>
            <Button kind="primary" icon="download" onClick={fetch}>
              Start the download
            </Button>
          </div>
        </Dialog>
      )}
    </>
  );
}

const sizeOf = ({ size }: PlannedFile) => (size === null ? "size not known" : bytes(size));

function stateOf({ state, done }: PlannedFile): string {
  if (state === "here") return "here already";
  return state === "partial" ? `${bytes(done)} fetched already` : "";
}
