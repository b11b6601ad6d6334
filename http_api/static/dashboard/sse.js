// PURE. Server-sent events, read from text that comes in pieces (HTML standard, "Parsing an event stream"). As
// EventSource can't send the header that proves who is asking, the stream is read by fetch().

export class EventReader {
  #rest = ""; // of a line that has not ended yet
  #held = ""; // a \r that ended the last piece: half of a \r\n, perhaps
  #event = "";
  #data = [];

  /** The events that this piece completes, as `{ event, data }`. */
  take(text) {
    const lines = (this.#held + text).split(/\r\n|\n|\r(?!$)/); // not the rest again: it may be megabytes
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
