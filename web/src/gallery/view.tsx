import { useEffect } from "preact/hooks";
import { route } from "../state/route";
import { Button } from "../ui/button";
import { filtersOf } from "./filters";
import { Grid } from "./grid";
import { anySelected, clear, selecting } from "./selection";
import { SelectionBar } from "./selection_bar";
import { gallery } from "./store";
import { Toolbar } from "./toolbar";

export function GalleryView() {
  const { query } = route.value;
  const { trash } = filtersOf(query);
  useEffect(() => {
    gallery.ensure(filtersOf(query));
    return clear;
  }, [query]);
  return (
    <>
      <h1 class="visually-hidden">{trash ? "Trash" : "Gallery"}</h1>
      <Toolbar key={trash ? "trash" : "pictures"} />
      <News />
      <Grid store={gallery} />
      <Empty />
      {(anySelected.value || selecting.value) && <SelectionBar />}
    </>
  );
}

function News() {
  if (!gallery.stale.value) return null;
  return (
    <div class="news">
      <Button icon="restore" onClick={() => gallery.reload()}>
        There are new pictures
      </Button>
    </div>
  );
}

function Empty() {
  void gallery.version.value;
  if (gallery.failed.value)
    return (
      <div class="empty-list">
        <p>The pictures could not be read.</p>
        <Button onClick={() => gallery.reload()}>Try again</Button>
      </div>
    );
  if (gallery.open || gallery.count) return null;
  const { trash } = gallery.filters;
  return (
    <div class="empty-list">
      <p>{trash ? "The trash is empty." : route.value.query ? "No picture fits." : "There are no pictures yet."}</p>
      {!trash && !route.value.query && <a href="#/">Draw the first one</a>}
    </div>
  );
}
