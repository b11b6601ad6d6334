// PURE. Server-sent events, read from text that comes in pieces (HTML standard, "Parsing an event stream"). As
// EventSource can't send the header that proves who is asking, the stream is read by fetch().

export class EventReader {
  #rest = "";
  #event = "";
  #data = [];

  /** The events that this piece completes, as `{ event, data }`. */
  take(text) {
    const lines = (this.#rest + text).split(/\r\n|\n|\r(?!$)/);
    this.#rest = lines.pop();
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
