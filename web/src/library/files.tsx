import { useEffect, useState } from "preact/hooks";
import { library } from "../api/api";
import type { File, Job, LibraryStats } from "../api/types";
import { withWords } from "../form/request";
import { change, form } from "../form/state";
import * as jobs from "../state/jobs";
import { go, hrefOf } from "../state/route";
import { attempt, tell } from "../state/toasts";
import { Button } from "../ui/button";
import { SelectField } from "../ui/fields";
import { bytes, plural } from "../ui/format";
import { SearchField } from "../ui/search_field";
import { useSettled } from "../ui/settled";
import { JobLine } from "./job_line";
import { KINDS } from "./kinds";
import { useList } from "./list";

const PAGE = 60;

export function Files() {
  const [text, setText] = useState("");
  const query = useSettled(text);
  const [kind, setKind] = useState("");
  const [family, setFamily] = useState("");
  const [stats, setStats] = useState<LibraryStats | null>(null);
  const [job, setJob] = useState<string | null>(null);
  const done = job !== null && isDone(jobs.jobOf(job));

  useEffect(() => {
    if (job === null || done) attempt(async () => setStats(await library.stats()));
  }, [job, done]);

  const list = useList<File>(`${query}|${kind}|${family}|${done}`, (cursor, stop) =>
    library.files({ query, kind, family, limit: PAGE, cursor }, stop),
  );
  const start = (work: () => Promise<Job>) => () =>
    attempt(async () => {
      const begun = await work();
      jobs.put(begun);
      setJob(begun.id);
    });
  const any = { value: "", name: "All" };
  return (
    <>
      <div class="toolbar-row">
        <SearchField label="Search files" value={text} onInput={setText} />
        <SelectField
          label="Kind"
          value={kind}
          choices={[any, ...(stats?.kinds ?? []).map(({ name }) => ({ value: name, name: KINDS[name] ?? name }))]}
          onChange={setKind}
        />
        <SelectField
          label="Family"
          value={family}
          choices={[any, ...(stats?.families ?? []).map(({ name }) => ({ value: name, name }))]}
          onChange={setFamily}
        />
        <Button icon="search" onClick={start(library.scan)}>
          Scan folders
        </Button>
        <Button icon="external" onClick={start(library.link)}>
          Match with CivitAI
        </Button>
      </div>
      {job && <JobLine id={job} />}
      {stats && (
        <p class="quiet">
          {plural(stats.files, "file")}, {bytes(stats.size)}
          {stats.missing > 0 && `, ${stats.missing} missing`}
          {stats.broken > 0 && `, ${stats.broken} broken`}
        </p>
      )}
      <ul class="files" role="list">
        {list.items.map((file) => (
          <li key={file.path}>
            <FileRow file={file} />
          </li>
        ))}
      </ul>
      {!list.busy && !list.failed && !list.items.length && (
        <div class="empty-list">
          <p>{query || kind || family ? "No file fits." : "No model file is known yet."}</p>
          {!query && <p class="quiet">Scan the folders, or get a model under “Find models”.</p>}
        </div>
      )}
      {list.more && <Button onClick={list.more}>More files</Button>}
    </>
  );
}

const isDone = (job: Job | undefined) => job !== undefined && jobs.ended(job);

const DRAWS = ["checkpoint", "diffusion_model"];

function FileRow({ file }: { file: File }) {
  const { name, kind, family, size, link, words, problem, precision, state } = file;
  const facts = [KINDS[kind] ?? kind, family, file.variant, precision, bytes(size), state === "present" ? "" : state];
  return (
    <article class="file" aria-label={name}>
      <div class="file-words">
        <p class="file-name">{name}</p>
        <p class="quiet">{facts.filter(Boolean).join(" · ")}</p>
        {link && (
          <p class="quiet">
            <a href={link.url} target="_blank" rel="noreferrer">
              {link.model}, {link.version}
            </a>
            {link.creator && ` by ${link.creator}`}
          </p>
        )}
        {words.length > 0 && <p class="quiet">Trigger words: {words.slice(0, 8).join(", ")}</p>}
        {problem && <p class="problem">{problem}</p>}
      </div>
      {state === "present" && DRAWS.includes(kind) && (
        <Button
          icon="draw"
          label={`Draw with it: ${name}`}
          onClick={() => {
            change({ model: name });
            go(hrefOf("draw"));
          }}
        >
          Draw with it
        </Button>
      )}
      {state === "present" && kind === "lora" && (
        <Button icon="plus" label={`Add to prompt: ${name}`} onClick={() => addLora(file)}>
          Add to prompt
        </Button>
      )}
    </article>
  );
}

function addLora({ name, words }: File): void {
  const others = form.value.loras.filter((lora) => lora.name !== name);
  const first = words[0];
  change({
    loras: [...others, { name, weight: 1, words }],
    ...(first !== undefined && { prompt: withWords(form.value.prompt, first) }),
  });
  tell(`${name} is in the form`, { name: "Go there", run: () => go(hrefOf("draw")) });
}
