import { useState } from "preact/hooks";
import { images } from "../api/api";
import * as jobs from "../state/jobs";
import { attempt } from "../state/toasts";
import { Button } from "../ui/button";
import { Dialog } from "../ui/dialog";

export function EmptyTrash() {
  const [asking, setAsking] = useState(false);
  const close = () => setAsking(false);
  return (
    <>
      <Button icon="trash" onClick={() => setAsking(true)}>
        Empty the trash
      </Button>
      {asking && (
        <Dialog name="Empty the trash?" head onClose={close} class="narrow">
          <div class="stack">
            <p>All pictures in the trash are removed from the disk. There is no undo.</p>
            <Button
              kind="danger"
              icon="trash"
              onClick={() =>
                attempt(async () => {
                  close();
                  jobs.put(await images.emptyTrash());
                })
              }
            >
              Remove them for good
            </Button>
            <Button onClick={close}>Keep them</Button>
          </div>
        </Dialog>
      )}
    </>
  );
}
