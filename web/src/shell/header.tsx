import { pending } from "../state/jobs";
import { theme, toggleTheme } from "../state/preferences";
import { hrefOf, type View, view } from "../state/route";
import { status } from "../state/server";
import { IconButton } from "../ui/button";
import { Icon, type IconName } from "../ui/icon";
import { keysShown } from "./shortcuts";

const LINKS: readonly { view: View; name: string; icon: IconName }[] = [
  { view: "draw", name: "Draw", icon: "draw" },
  { view: "gallery", name: "Gallery", icon: "gallery" },
  { view: "library", name: "Library", icon: "library" },
  { view: "queue", name: "Queue", icon: "queue" },
];

export function Header() {
  return (
    <header class="top">
      <p class="brand">
        <img src="/favicon.svg" alt="" width={22} height={22} />
        tsr
      </p>
      <nav class="nav" aria-label="Main">
        {LINKS.map((link) => (
          <a key={link.view} href={hrefOf(link.view)} aria-current={view.value === link.view ? "page" : undefined}>
            <Icon name={link.icon} />
            {link.name}
            {link.view === "queue" && pending.value.length > 0 && (
              <span class="count" aria-hidden="true">
                {pending.value.length}
              </span>
            )}
          </a>
        ))}
      </nav>
      <Engine />
      <IconButton
        name="Keys"
        icon="keyboard"
        keys="?"
        class="wide-only"
        onClick={() => {
          keysShown.value = true;
        }}
      />
      <IconButton name="Theme" icon={theme.value === "dark" ? "sun" : "moon"} onClick={toggleTheme} />
    </header>
  );
}

const STATES: Record<string, string> = {
  missing: "no engine",
  stopped: "asleep",
  loading: "loading",
  ready: "ready",
  busy: "drawing",
  failed: "failed",
};

function Engine() {
  const engine = status.value?.engine;
  if (!engine) return <p class="engine" />;
  return (
    <p class={`engine ${engine.state}`} title={engine.message ?? undefined}>
      <span class="dot" aria-hidden="true" />
      <b>{engine.model ?? "no model"}</b>
      <span class="state">{STATES[engine.state] ?? engine.state}</span>
    </p>
  );
}
