// PURE. Parses server-sent events from chunks of text (HTML standard, "Parsing an event stream"). The stream is read with
// fetch(), since EventSource can't send an Authorization header.

export class EventReader {
  #rest = ""; // of an incomplete line
  #held = ""; // a \r at the end of the last chunk: possibly half of a \r\n
  #event = "";
  #data = [];

  /** The events completed by this chunk, as `{ event, data }`. */
  take(text) {
    const lines = (this.#held + text).split(/\r\n|\n|\r(?!$)/); // do not scan the rest again: it may be megabytes
    const last = lines.pop();
    this.#held = last.endsWith("\r") ? "\r" : "";
    const rest = last.slice(0, last.length - this.#held.length);
    if (lines.length) [lines[0], this.#rest] = [this.#rest + lines[0], rest];
    else this.#rest += rest;
    return lines.map((line) => this.#line(line)).filter(Boolean);
  }

  #line(line) {
    if (line === "") {
      const complete = this.#data.length ? { event: this.#event || "message", data: this.#data.join("\n") } : null;
      [this.#event, this.#data] = ["", []];
      return complete;
    }
    const [, field, value] = /^([^:]*):? ?(.*)$/s.exec(line);
    if (field === "event") this.#event = value;
    if (field === "data") this.#data.push(value);
    return null;
  }
}
