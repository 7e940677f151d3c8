/** Server-sent events from a stream of text. */

export interface ServerEvent {
  event: string;
  data: string;
}

export class SseParser {
  #rest = "";
  #event = "";
  #data: string[] = [];

  /** The events that are whole with this piece of text. Comments (heartbeats) are left out. */
  push(text: string): ServerEvent[] {
    const events: ServerEvent[] = [];
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop() ?? "";
    for (const line of lines) {
      const done = this.#line(line.endsWith("\r") ? line.slice(0, -1) : line);
      if (done) events.push(done);
    }
    return events;
  }

  #line(line: string): ServerEvent | null {
    if (line === "") return this.#end();
    // A comment has a colon at its beginning, and so no field.
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "event") this.#event = value;
    else if (field === "data") this.#data.push(value);
    return null;
  }

  #end(): ServerEvent | null {
    const done = this.#data.length ? { event: this.#event || "message", data: this.#data.join("\n") } : null;
    this.#event = "";
    this.#data = [];
    return done;
  }
}
