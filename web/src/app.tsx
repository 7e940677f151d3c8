import type { ComponentType } from "preact";
import { DrawView } from "./draw/view";
import { GalleryView } from "./gallery/view";
import { Lightbox } from "./lightbox/lightbox";
import { Banner } from "./shell/banner";
import { DropZone } from "./shell/drop";
import { Header } from "./shell/header";
import { KeyDialog } from "./shell/key_dialog";
import { Keys } from "./shell/keys";
import { route, type View } from "./state/route";
import { admitted, keyWanted } from "./state/session";
import { depth } from "./ui/dialog";
import { later } from "./ui/later";
import { Toasts } from "./ui/toasts";

const VIEWS: Record<View, ComponentType> = {
  draw: DrawView,
  gallery: GalleryView,
  library: later(async () => (await import("./library/view")).LibraryView),
  queue: later(async () => (await import("./queue/view")).QueueView),
};

export function App() {
  const { view, image } = route.value;
  const Shown = VIEWS[view];
  return (
    <>
      <button type="button" class="skip" onClick={skip}>
        Skip to the content
      </button>
      <Header />
      <Banner />
      <main id="main" tabIndex={-1} class={`view ${view}`}>
        {(admitted.value || view === "draw") && <Shown />}
      </main>
      {image !== null && admitted.value && <Lightbox id={image} />}
      <DropZone />
      <Keys />
      {keyWanted.value && <KeyDialog />}
      {depth.value === 0 && <Toasts />}
    </>
  );
}

/** A button, because the hash of the address says which view is shown. */
function skip(): void {
  document.getElementById("main")?.focus();
}
