import { DrawBar } from "./draw_bar";
import { PromptFields } from "./prompt";
import { SettingsFields } from "./settings";
import { Stage } from "./stage";

export function DrawView() {
  return (
    <>
      <h1 class="visually-hidden">Draw</h1>
      <div class="draw-grid">
        <section class="panel draw-prompt" aria-label="Prompt">
          <PromptFields />
        </section>
        <section class="panel draw-settings" aria-label="Settings">
          <SettingsFields />
        </section>
        <Stage />
        <DrawBar />
      </div>
    </>
  );
}
