// Asks the service who this is; separate from the session, which the calls themselves need.
import { call } from "../api/client";
import { Problem } from "../api/problems";
import { forgetThumbnails } from "../api/thumbnails";
import { access, locked } from "./session";

/** Looks up what the key allows; raises `Problem` where the service does not answer. */
export async function lookUpAccess(): Promise<void> {
  try {
    const found = await call("GET /v1/access");
    if (access.value && access.value.workspace !== found.workspace) forgetThumbnails();
    access.value = found;
    locked.value = false;
  } catch (error) {
    if (!(error instanceof Problem) || error.status !== 401) throw error;
    access.value = null;
    locked.value = true;
  }
}
