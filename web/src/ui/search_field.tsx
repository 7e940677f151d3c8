import { Icon } from "./icon";

interface SearchFieldProps {
  label: string;
  placeholder?: string;
  title?: string;
  value: string;
  onInput: (text: string) => void;
}

/** Where words to look for are written; the key `/` leads to it. */
export function SearchField({ label, placeholder = label, title, value, onInput }: SearchFieldProps) {
  return (
    <div class="search">
      <Icon name="search" />
      <input
        type="search"
        aria-label={label}
        aria-keyshortcuts="/"
        placeholder={placeholder}
        title={title}
        value={value}
        onInput={({ currentTarget }) => onInput(currentTarget.value)}
      />
    </div>
  );
}
