import type { ComponentChildren } from "preact";
import { Icon, type IconName } from "./icon";

interface IconButtonProps {
  name: string;
  icon: IconName;
  onClick: () => void;
  pressed?: boolean;
  disabled?: boolean;
  class?: string;
  /** What a key does the same. */
  keys?: string;
}

/** A button that shows a picture only; its name is said and shown as a tip. */
export function IconButton({ name, icon, onClick, pressed, disabled, class: extra = "", keys }: IconButtonProps) {
  return (
    <button
      type="button"
      class={`icon-button ${extra}`}
      aria-label={name}
      title={keys ? `${name} (${keys})` : name}
      aria-pressed={pressed}
      aria-keyshortcuts={keys}
      disabled={disabled}
      onClick={onClick}
    >
      <Icon name={icon} filled={pressed === true} />
    </button>
  );
}

interface ButtonProps {
  children: ComponentChildren;
  onClick: () => void;
  icon?: IconName;
  kind?: "primary" | "plain" | "danger";
  disabled?: boolean;
  pressed?: boolean;
  label?: string;
}

export function Button({ children, onClick, icon, kind = "plain", disabled, pressed, label }: ButtonProps) {
  return (
    <button
      type="button"
      class={`button ${kind}`}
      disabled={disabled}
      aria-pressed={pressed}
      aria-label={label}
      onClick={onClick}
    >
      {icon && <Icon name={icon} />}
      {children}
    </button>
  );
}
