import { useId, useState } from "preact/hooks";
import { Icon } from "./icon";

interface TagsProps {
  label: string;
  tags: readonly string[];
  onChange: (tags: string[]) => void;
}

/** Words of which each can be taken away, and a place to add one. */
export function Tags({ label, tags, onChange }: TagsProps) {
  const id = useId();
  const [text, setText] = useState("");
  const add = () => {
    const fresh = wordsOf(text).filter((word) => !tags.includes(word));
    setText("");
    if (fresh.length) onChange([...tags, ...new Set(fresh)]);
  };
  return (
    <div class="tags">
      {tags.map((tag) => (
        <span key={tag} class="chip">
          {tag}
          <button
            type="button"
            aria-label={`Remove tag ${tag}`}
            onClick={() => onChange(tags.filter((other) => other !== tag))}
          >
            <Icon name="close" />
          </button>
        </span>
      ))}
      <label for={id} class="visually-hidden">
        {label}
      </label>
      <input
        id={id}
        type="text"
        autocomplete="off"
        autocapitalize="none"
        maxLength={64}
        placeholder={label}
        value={text}
        onInput={({ currentTarget }) => setText(currentTarget.value)}
        onBlur={add}
        onKeyDown={(event) => {
          if (event.key === "Enter" || event.key === ",") {
            event.preventDefault();
            add();
          } else if (event.key === "Backspace" && !text && tags.length) onChange(tags.slice(0, -1));
        }}
      />
    </div>
  );
}

export function wordsOf(text: string): string[] {
  return text
    .split(",")
    .map((word) => word.trim())
    .filter(Boolean);
}
