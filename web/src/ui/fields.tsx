import type { ComponentChildren } from "preact";
import { useId, useState } from "preact/hooks";

interface NumberProps {
  label: string;
  value: number | null;
  /** Shown while there is no value of its own. */
  initial?: number | null;
  min: number;
  max: number;
  step?: number;
  placeholder?: string;
  onChange: (value: number | null) => void;
}

export function NumberField({ label, value, initial = null, min, max, step = 1, placeholder, onChange }: NumberProps) {
  const id = useId();
  // While somebody types, the text is theirs: an emptied field does not jump back to its default.
  const [draft, setDraft] = useState<string | null>(null);
  const shown = value ?? initial;
  return (
    <div class="field">
      <label for={id}>{label}</label>
      <input
        id={id}
        type="number"
        inputMode={step % 1 ? "decimal" : "numeric"}
        class={value === null ? "as-default" : ""}
        min={min}
        max={max}
        step={step}
        placeholder={placeholder}
        value={draft ?? (shown === null ? "" : String(shown))}
        onInput={({ currentTarget: { value: text, valueAsNumber } }) => {
          setDraft(text);
          if (text === "") onChange(null);
          else if (Number.isFinite(valueAsNumber)) onChange(valueAsNumber);
        }}
        onBlur={() => {
          setDraft(null);
          if (value !== null && (value < min || value > max)) onChange(Math.min(max, Math.max(min, value)));
        }}
      />
    </div>
  );
}

export interface Choice {
  value: string;
  name: string;
  group?: string;
  disabled?: boolean;
}

interface SelectProps {
  label: string;
  value: string;
  choices: readonly Choice[];
  onChange: (value: string) => void;
  hideLabel?: boolean;
}

export function SelectField({ label, value, choices, onChange, hideLabel }: SelectProps) {
  const id = useId();
  const groups = [...new Set(choices.map((choice) => choice.group ?? ""))];
  return (
    <div class="field">
      <label for={id} class={hideLabel ? "visually-hidden" : ""}>
        {label}
      </label>
      <select id={id} value={value} onChange={({ currentTarget }) => onChange(currentTarget.value)}>
        {groups.map((group) => {
          const options = choices.filter((choice) => (choice.group ?? "") === group).map(option);
          return group ? (
            <optgroup key={group} label={group}>
              {options}
            </optgroup>
          ) : (
            options
          );
        })}
      </select>
    </div>
  );
}

function option({ value, name, disabled }: Choice) {
  return (
    <option key={value} value={value} disabled={disabled}>
      {name}
    </option>
  );
}

interface SliderProps {
  label: string;
  value: number;
  min: number;
  max: number;
  step: number;
  onChange: (value: number) => void;
}

export function SliderField({ label, value, min, max, step, onChange }: SliderProps) {
  const id = useId();
  return (
    <div class="field slider">
      <label for={id}>{label}</label>
      <span class="value" aria-hidden="true">
        {value}
      </span>
      <input
        id={id}
        type="range"
        min={min}
        max={max}
        step={step}
        value={value}
        onInput={({ currentTarget }) => onChange(currentTarget.valueAsNumber)}
      />
    </div>
  );
}

interface SwitchProps {
  label: ComponentChildren;
  on: boolean;
  onChange: (on: boolean) => void;
}

export function Switch({ label, on, onChange }: SwitchProps) {
  return (
    <label class="switch">
      <input
        type="checkbox"
        role="switch"
        aria-checked={on}
        checked={on}
        onChange={({ currentTarget }) => onChange(currentTarget.checked)}
      />
      <span>{label}</span>
    </label>
  );
}
