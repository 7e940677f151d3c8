import { connected, reconnect } from "../api/stream";
import { keyWanted } from "../state/session";
import { Button } from "../ui/button";

export function Banner() {
  const lost = connected.value === false && !keyWanted.value;
  return (
    <div role="alert" class={lost ? "banner" : "banner hidden"}>
      {lost && (
        <>
          <p>
            The connection to the server is lost. Trying again… <small>Jobs go on without this page.</small>
          </p>
          <Button onClick={reconnect}>Try now</Button>
        </>
      )}
    </div>
  );
}
