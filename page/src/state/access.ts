// Asks the service who this is; separate from the session, which the calls themselves need.
import { addressOf, call } from "../api/client";
import { noAnswer, Problem, readProblem } from "../api/problems";
import { forgetThumbnails } from "../api/thumbnails";
import { access, isSendable, key, locked } from "./session";

/** Whether the service takes this key; raises `Problem` where it does not answer. */
export async function isGoodKey(key: string): Promise<boolean> {
  if (!isSendable(key)) return false;
  const reply = await fetch(addressOf("/v1/access"), { headers: { Accept: "application/json", Authorization: `Bearer ${key}` }, credentials: "omit" }).catch(() => {
    throw noAnswer();
  });
  if (reply.status === 401) return false;
  if (!reply.ok) throw readProblem(reply.status, await reply.text(), (name) => reply.headers.get(name));
  return true;
}

/** Looks up what the key allows; raises `Problem` where the service does not answer. */
export async function lookUpAccess(): Promise<void> {
  const asked = key.value;
  try {
    const found = await call("GET /v1/access");
    if (asked !== key.value) return; // another key is in by now, and is looked up itself
    if (access.value && access.value.workspace !== found.workspace) forgetThumbnails();
    access.value = found;
    locked.value = false;
  } catch (error) {
    if (asked !== key.value) return;
    if (!(error instanceof Problem) || error.status !== 401) throw error;
    access.value = null;
    locked.value = true;
  }
}
