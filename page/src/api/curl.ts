// A call as the line of curl that does the same, without the key.
import { needsKey } from "../state/session";
import { urlOf, type CallName, type Options } from "./client";

const quote = (text: string) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

/** A file as `-F` takes it: a comma or semicolon ends a name that is not quoted. */
const fileOf = (name: string) => (/[,;"\\]/.test(name) ? `"${name.replaceAll(/["\\]/g, "\\$&")}"` : name);

export function curlOf<Name extends CallName>(name: Name, options: Options<Name>): string {
  const method = name.slice(0, name.indexOf(" "));
  const parts = ["curl"];
  if (method !== "GET" && !(method === "POST" && (options.form || options.json))) parts.push("-X", method);
  if (needsKey.value) parts.push('-H "Authorization: Bearer $VISION_API_KEY"');
  if (options.json) parts.push("-H 'Content-Type: application/json'", "-d", quote(JSON.stringify(options.json)));
  for (const [field, value] of Object.entries(options.form ?? {})) {
    if (value === undefined || value === null) continue;
    const blobs = (Array.isArray(value) ? value : [value]) as unknown[];
    if (blobs.every((part) => part instanceof Blob)) {
      for (const blob of blobs) parts.push("-F", quote(`${field}=@${fileOf(blob instanceof File ? blob.name : "picture.jpg")}`));
    } else {
      const text = Array.isArray(value) ? JSON.stringify(value) : String(value);
      parts.push(/^[@<"(]|;/.test(text) ? "--form-string" : "-F", quote(`${field}=${text}`)); // -F reads a file for @ and <
    }
  }
  parts.push(quote(urlOf(name, options).href));
  return parts.join(" ");
}
