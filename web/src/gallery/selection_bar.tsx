import { useState } from "preact/hooks";
import { images } from "../api/api";
import { attempt } from "../state/toasts";
import { Button, IconButton } from "../ui/button";
import { Dialog } from "../ui/dialog";
import { plural } from "../ui/format";
import { Icon } from "../ui/icon";
import { Tags } from "../ui/tags";
import { addFavourites, addTags, remove, restore } from "./actions";
import { clear, selected } from "./selection";
import { gallery } from "./store";

/** An address cannot be longer. */
const MOST_EXPORTED = 500;

export function SelectionBar() {
  const [tagging, setTagging] = useState(false);
  const ids = [...selected.value];
  const none = ids.length === 0;
  const act = (work: () => Promise<void>) => () => {
    attempt(work);
    clear();
  };
  return (
    <section class="selection" aria-label="Selected pictures">
      <p aria-live="polite">{none ? "Choose pictures" : `${plural(ids.length, "picture")} selected`}</p>
      {gallery.filters.trash ? (
        <Button icon="restore" disabled={none} onClick={act(() => restore(ids))}>
          Restore selected
        </Button>
      ) : (
        <>
          <Button icon="tag" disabled={none} onClick={() => setTagging(true)} label="Tag selected">
            Tag
          </Button>
          <Button icon="heart" disabled={none} label="Favourite selected" onClick={act(() => addFavourites(ids))}>
            Favourite
          </Button>
          {!none && ids.length <= MOST_EXPORTED && (
            <a class="button plain" href={images.exportUrl({ id: ids })} download aria-label="Export selected">
              <Icon name="download" />
              Export
            </a>
          )}
          <Button icon="trash" kind="danger" disabled={none} label="Delete selected" onClick={act(() => remove(ids))}>
            Delete
          </Button>
        </>
      )}
      <IconButton name="End selecting" icon="close" onClick={clear} />
      {tagging && <TagDialog ids={ids} onClose={() => setTagging(false)} />}
    </section>
  );
}

function TagDialog({ ids, onClose }: { ids: readonly string[]; onClose: () => void }) {
  const [tags, setTags] = useState<string[]>([]);
  return (
    <Dialog name={`Tag ${plural(ids.length, "picture")}`} head onClose={onClose} class="narrow">
      <div class="stack">
        <Tags label="Add a tag" tags={tags} onChange={setTags} />
        <Button
          kind="primary"
          disabled={!tags.length}
          onClick={() => {
            attempt(() => addTags(ids, tags));
            onClose();
            clear();
          }}
        >
          Add to all
        </Button>
      </div>
    </Dialog>
  );
}
