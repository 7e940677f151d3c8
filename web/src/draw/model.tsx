import { models as api } from "../api/api";
import { withDefaults } from "../form/form";
import { change, form } from "../form/state";
import * as jobs from "../state/jobs";
import { active, loaded, models, modelsLoaded } from "../state/server";
import { attempt, sentence } from "../state/toasts";
import { Button } from "../ui/button";
import { type Choice, SelectField } from "../ui/fields";
import { figures, phase } from "../ui/format";
import { ProgressBar } from "../ui/progress";

export function ModelPicker() {
  const chosen = form.value.model ?? active.value?.name ?? "";
  const entry = models.value.find((model) => model.name === chosen);
  const change_ = jobs.switching.value;
  return (
    <div class="model">
      <div class="with-button">
        <SelectField label="Model" value={chosen} choices={choices(chosen)} onChange={choose} />
        {entry && !loaded.value.has(entry.name) && !change_ && (
          <Button icon="bolt" onClick={() => load(chosen)}>
            Load now
          </Button>
        )}
      </div>
      {change_ && (
        <div class="switching">
          <ProgressBar name="Model progress" progress={change_.progress} />
          <p class="quiet">{[phase(change_.progress), figures(change_.progress)].filter(Boolean).join(" · ")}</p>
        </div>
      )}
      {modelsLoaded.value && !models.value.length && (
        <p class="quiet">
          There is no model yet. Get one in the <a href="#/library">Library</a>.
        </p>
      )}
      {entry?.problem && <p class="problem">{sentence(`${entry.name} ${entry.problem}`)}</p>}
      {entry && entry.needs.length > 0 && <p class="problem">It also needs {entry.needs.join(", ")}.</p>}
    </div>
  );
}

function choices(chosen: string): Choice[] {
  const known = models.value.map((model) => ({
    value: model.name,
    name: `${model.name}${loaded.value.has(model.name) ? " · loaded" : ""}${model.problem ? " · broken" : ""}`,
    group: model.family,
    disabled: model.problem !== null,
  }));
  known.sort((a, b) => a.group.localeCompare(b.group) || a.name.localeCompare(b.name));
  const isKnown = known.some(({ value }) => value === chosen);
  if (chosen && !isKnown && modelsLoaded.value)
    known.unshift({ value: chosen, name: `${chosen} · not here`, group: "", disabled: false });
  if (!chosen)
    known.unshift({ value: "", name: modelsLoaded.value ? "Choose a model" : "…", group: "", disabled: false });
  return known;
}

/** What was chosen for one family is seldom right for another. */
function choose(name: string): void {
  const family = (model: string | null) => models.value.find((entry) => entry.name === model)?.family;
  const before = family(form.value.model ?? active.value?.name ?? null);
  if (before !== family(name)) form.value = withDefaults(form.value);
  change({ model: name === active.value?.name ? null : name });
}

function load(name: string): void {
  attempt(async () => jobs.put(await api.switchTo(name)));
}
