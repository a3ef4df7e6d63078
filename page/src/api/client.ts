// Every call of the page: typed by the service's OpenAPI document, with the key where there is one, failures as
// `Problem`, and one retry by itself where the service says when.
import { signal } from "@preact/signals";
import { key, keyRefused } from "../state/session";
import { curlOf } from "./curl";
import { isAbort, noAnswer, Problem, readProblem } from "./problems";
import type { Calls } from "./schema";

export type CallName = keyof Calls;
type Part<Name extends CallName, Key extends string> = Calls[Name] extends Record<Key, infer Value> ? Value : never;
export type Reply<Name extends CallName> = Calls[Name]["reply"];

export interface Options<Name extends CallName> {
  path?: Part<Name, "path">;
  query?: Partial<Part<Name, "query">>;
  json?: Part<Name, "json">;
  form?: Partial<Part<Name, "form">>;
  signal?: AbortSignal;
  /** How much of the body has left, from 0 to 1; it is then sent by XMLHttpRequest, which alone tells. */
  onProgress?: (share: number) => void;
  /** Whether "show the call" shows it: what the user did, not what the page looks up. */
  showCall?: boolean;
}

/** Where the service is: the page's own folder, so that it works under any prefix. */
export const base = new URL(".", document.baseURI);

/** An address of the service, given as it stands in replies (`/v1/...`), under the prefix that the page is served at. */
export const addressOf = (path: string) => new URL(path.replace(/^\//, ""), base);

/** Seconds until the call that waits is sent again; null while none waits. */
export const waiting = signal<{ seconds: number; sentence: string } | null>(null);

/** The last call that the user made, as a line for a shell. */
export const lastCall = signal<string | null>(null);

export function urlOf<Name extends CallName>(name: Name, options: Options<Name>): URL {
  const path = (options.path ?? {}) as Record<string, string>;
  const url = addressOf(name.slice(name.indexOf(" ") + 1).replace(/\{(\w+)\}/g, (_, part: string) => encodeURIComponent(path[part] ?? "")));
  for (const [field, value] of Object.entries(options.query ?? {})) {
    if (value !== undefined && value !== null) url.searchParams.set(field, String(value));
  }
  return url;
}

export function formOf(fields: Record<string, unknown>): FormData {
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) {
    if (value === undefined || value === null) continue;
    if (value instanceof Blob) form.append(name, value, nameOf(value));
    else if (Array.isArray(value) && value.every((part) => part instanceof Blob)) {
      for (const part of value) form.append(name, part, nameOf(part));
    } else form.append(name, Array.isArray(value) ? JSON.stringify(value) : String(value));
  }
  return form;
}

const nameOf = (blob: Blob) => (blob instanceof File ? blob.name : "picture.jpg");

export function headers(extra: Record<string, string> = {}): Record<string, string> {
  return key.value ? { ...extra, Authorization: `Bearer ${key.value}` } : extra;
}

/** One call; raises `Problem`, or the AbortError of its signal. */
export async function call<Name extends CallName>(name: Name, options: Options<Name> = {}): Promise<Reply<Name>> {
  if (options.showCall) lastCall.value = curlOf(name, options);
  return retryBusy(() => send(name, options), options.signal);
}

/** Sends once, and once more where the service is busy and says when to come back. */
export async function retryBusy<Result>(sendOnce: () => Promise<Result>, signal?: AbortSignal): Promise<Result> {
  try {
    return await sendOnce();
  } catch (error) {
    if (!(error instanceof Problem) || error.status !== 503 || error.retryAfter === null) throw error;
    await countDown(error.retryAfter, error.sentence, signal);
    return sendOnce();
  }
}

async function send<Name extends CallName>(name: Name, options: Options<Name>): Promise<Reply<Name>> {
  const sent = key.value;
  const reply = options.onProgress && options.form ? await upload(name, options) : await ask(name, options);
  if (reply.status === 401 && sent === key.value) keyRefused(); // not of a key that another replaced meanwhile
  if (reply.status < 200 || reply.status > 299) throw readProblem(reply.status, reply.text, reply.header);
  return (reply.text && /json/.test(reply.header("Content-Type") ?? "") ? JSON.parse(reply.text) : reply.text) as Reply<Name>;
}

interface Raw {
  status: number;
  text: string;
  header: (name: string) => string | null;
}

async function ask<Name extends CallName>(name: Name, options: Options<Name>): Promise<Raw> {
  try {
    const reply = await fetch(urlOf(name, options), {
      method: name.slice(0, name.indexOf(" ")),
      headers: headers({ Accept: "application/json", ...(options.json ? { "Content-Type": "application/json" } : {}) }),
      body: options.json ? JSON.stringify(options.json) : options.form ? formOf(options.form) : undefined,
      signal: options.signal,
      credentials: "omit",
    });
    return { status: reply.status, text: await reply.text(), header: (field) => reply.headers.get(field) };
  } catch (error) {
    if (isAbort(error)) throw error;
    throw noAnswer();
  }
}

function upload<Name extends CallName>(name: Name, options: Options<Name>): Promise<Raw> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open(name.slice(0, name.indexOf(" ")), urlOf(name, options));
    for (const [field, value] of Object.entries(headers({ Accept: "application/json" }))) request.setRequestHeader(field, value);
    request.upload.onprogress = (event) => event.lengthComputable && options.onProgress?.(event.loaded / event.total);
    request.onload = () => resolve({ status: request.status, text: request.responseText, header: (field) => request.getResponseHeader(field) });
    request.onerror = () => reject(noAnswer());
    request.onabort = () => reject(new DOMException("", "AbortError"));
    options.signal?.addEventListener("abort", () => request.abort(), { once: true });
    request.send(formOf(options.form ?? {}));
  });
}

/** Waits as long as the service asked for, and lets the page show how long that still is. */
async function countDown(seconds: number, sentence: string, signal?: AbortSignal): Promise<void> {
  for (let left = Math.ceil(seconds); left > 0; left--) {
    waiting.value = { seconds: left, sentence };
    await pause(1000, signal).catch((error: unknown) => {
      waiting.value = null;
      throw error;
    });
  }
  waiting.value = null;
}

/** `ms` milliseconds, or the AbortError of `signal`. */
export function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = () => (clearTimeout(timer), reject(new DOMException("", "AbortError")));
    const timer = setTimeout(() => (signal?.removeEventListener("abort", stop), resolve()), ms);
    if (signal?.aborted) stop();
    signal?.addEventListener("abort", stop, { once: true });
  });
}

type Paged = { [Name in CallName]: Reply<Name> extends { data: unknown[]; next: string | null } ? Name : never }[CallName];

/** Every row of a paged call, page by page, handed on as it comes. */
export async function readAll<Name extends Paged>(
  name: Name,
  options: Options<Name>,
  onPage?: (rows: (Reply<Name> & { data: unknown[] })["data"]) => void,
): Promise<(Reply<Name> & { data: unknown[] })["data"]> {
  const rows: unknown[] = [];
  let cursor: string | null = null;
  do {
    const query = { limit: 200, ...options.query, ...(cursor ? { cursor } : {}) } as unknown as Partial<Part<Name, "query">>;
    const page = (await call(name, { ...options, query })) as { data: unknown[]; next: string | null };
    rows.push(...page.data);
    onPage?.(rows as never);
    cursor = page.next;
  } while (cursor);
  return rows as never;
}
