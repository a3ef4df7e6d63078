// Server-sent events over fetch, since EventSource cannot carry a key: resumes at the last event, with growing pauses.
import { addressOf, headers, pause } from "./client";
import { isAbort, noAnswer, Problem, readProblem } from "./problems";

export interface ServerEvent {
  id: string;
  name: string;
  data: string;
}

const MIN_PAUSE_MS = 1000;
const MAX_PAUSE_MS = 30_000;

/** The events of one stream, as they come; ends with the stream. */
export async function* readEvents(body: ReadableStream<Uint8Array>): AsyncGenerator<ServerEvent> {
  const reader = body.pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      rest += value;
      const blocks = rest.split(/\r?\n\r?\n/);
      rest = blocks.pop() ?? "";
      for (const block of blocks) {
        const event = parse(block);
        if (event) yield event;
      }
    }
  } finally {
    void reader.cancel().catch(() => undefined);
  }
}

function parse(block: string): ServerEvent | null {
  const event: ServerEvent = { id: "", name: "message", data: "" };
  const data: string[] = [];
  for (const line of block.split(/\r?\n/)) {
    const colon = line.indexOf(":");
    if (colon === 0) continue; // a comment that keeps the connection awake
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "data") data.push(value);
    else if (field === "event") event.name = value;
    else if (field === "id") event.id = value;
  }
  event.data = data.join("\n");
  return data.length ? event : null;
}

/** A POST whose answer is a stream, such as a question's; raises `Problem`. */
export async function openStream(path: string, body: FormData | string, signal: AbortSignal): Promise<AsyncGenerator<ServerEvent>> {
  const kind = typeof body === "string" ? { "Content-Type": "application/json" } : {};
  const reply = await fetch(addressOf(path), {
    method: "POST", body, signal, credentials: "omit",
    headers: headers({ Accept: "text/event-stream", ...(kind as Record<string, string>) }),
  }).catch((error: unknown) => {
    throw isAbort(error) ? error : noAnswer();
  });
  if (!reply.ok || !reply.body) throw readProblem(reply.status, await reply.text(), (name) => reply.headers.get(name));
  return readEvents(reply.body);
}

/** Follows `path` until `isOver` answers true at the end of a stream or `signal` aborts, through lost networks and
 * restarts of the service. A stream begins with the first event there was: none of them alone says that it is over.
 *
 * Raises `Problem` where the service refuses (4xx); `onLost` hears of each lost connection and, by false, of its return.
 */
export async function followEvents(
  path: string,
  onEvent: (event: ServerEvent) => void,
  isOver: () => Promise<boolean>,
  signal: AbortSignal,
  onLost: (lost: boolean) => void = () => undefined,
): Promise<void> {
  let last = "";
  let wait = MIN_PAUSE_MS;
  while (!signal.aborted) {
    try {
      const reply = await fetch(addressOf(path), {
        signal, credentials: "omit",
        headers: headers({ Accept: "text/event-stream", ...(last ? { "Last-Event-ID": last } : {}) }),
      });
      if (!reply.ok || !reply.body) {
        const problem = readProblem(reply.status, await reply.text(), (name) => reply.headers.get(name));
        if (reply.status < 500) throw problem;
        wait = Math.max(wait, (problem.retryAfter ?? 0) * 1000);
      } else {
        onLost(false);
        for await (const event of readEvents(reply.body)) {
          wait = MIN_PAUSE_MS;
          if (event.id) last = event.id;
          onEvent(event);
        }
        if (await isOver()) return;
      }
    } catch (error) {
      if (isAbort(error)) return;
      if (error instanceof Problem && error.status >= 400 && error.status < 500) throw error;
    }
    if (signal.aborted) return;
    onLost(true);
    await pause(wait, signal).catch(() => undefined);
    wait = Math.min(wait * 2, MAX_PAUSE_MS);
  }
}
