// Files that a person hands over, as pictures that the service takes: folders walked, large photos scaled down.
import { Problem } from "../api/problems";
import { tell } from "../parts/toast";
import { say } from "../strings";

export interface InputFile {
  file: File;
  /** The innermost folder's name, where the file came in one. */
  folder: string | null;
}

const NOT_PICTURES = /\.(txt|json|csv|zip|tar|gz|pdf|mp4|mov|webm|md|xml|ya?ml|html?|ds_store|ini|db)$/i;
const IS_PICTURE = /\.(jpe?g|png|gif|webp|bmp|tiff?|avif|hei[cf]|jp2|ppm|ico)$/i;
const MAX_BYTES = 20 * 1024 * 1024;
const MAX_SIDE = 2048;
/** What took the place of files that the service found too large. */
const scaled = new WeakMap<File, File>();

export const isPicture = (file: File) => file.type.startsWith("image/") || IS_PICTURE.test(file.name) || (!file.type && !NOT_PICTURES.test(file.name) && file.name.includes("."));

/** What was dropped: files, folders with all inside, or the picture of another page. What cannot be read is left out and named. */
export async function takeDropped(data: DataTransfer): Promise<InputFile[]> {
  const entries = [...data.items].filter((item) => item.kind === "file").map((item) => ({ entry: item.webkitGetAsEntry?.() ?? null, file: item.getAsFile() }));
  const given: InputFile[] = [];
  const unread: string[] = [];
  for (const { entry, file } of entries) {
    if (entry?.isDirectory) await walk(entry as FileSystemDirectoryEntry, given, unread);
    else if (file) given.push({ file, folder: null });
  }
  if (unread.length) tell(say.ways.unread(unread));
  return given;
}

async function walk(folder: FileSystemDirectoryEntry, given: InputFile[], unread: string[]): Promise<void> {
  const reader = folder.createReader();
  for (;;) {
    const entries = await new Promise<FileSystemEntry[]>((resolve) => reader.readEntries(resolve, () => (unread.push(folder.name), resolve([]))));
    if (!entries.length) return; // browsers hand out a hundred at a time
    for (const entry of entries) {
      if (entry.name.startsWith(".")) continue;
      if (entry.isDirectory) await walk(entry as FileSystemDirectoryEntry, given, unread);
      else {
        const file = await new Promise<File | null>((resolve) => (entry as FileSystemFileEntry).file(resolve, () => resolve(null)));
        if (file) given.push({ file, folder: folder.name });
        else unread.push(entry.name);
      }
    }
  }
}

/** What an <input type=file> holds; `webkitdirectory` gives each file its path. */
export function takeChosen(files: FileList | null): InputFile[] {
  return [...(files ?? [])]
    .filter((file) => !file.name.startsWith("."))
    .map((file) => ({ file, folder: file.webkitRelativePath.split("/").at(-2) ?? null }));
}

/** Pictures on the clipboard. */
export function takePasted(data: DataTransfer | null): InputFile[] {
  return [...(data?.files ?? [])].map((file) => ({ file, folder: null }));
}

/** The file as it is, or scaled down in the browser where it is too large to send or of a kind that the browser may know
 * better than the service (HEIC); where the browser cannot read it, the service has the word.
 */
async function prepare(file: File): Promise<File> {
  const known = scaled.get(file);
  if (known) return known;
  const isHeic = /hei[cf]/i.test(file.type) || /\.hei[cf]$/i.test(file.name);
  return file.size <= MAX_BYTES && !isHeic ? file : shrink(file);
}

/** Hands a picture to `send`, and once more scaled down where the service says that it is too large: phones take more
 * megapixels than it accepts, and only decoding them would tell before.
 */
export async function sendPicture<Result>(file: File, send: (image: File) => Promise<Result>): Promise<Result> {
  const image = await prepare(file);
  try {
    return await send(image);
  } catch (error) {
    if (!(error instanceof Problem) || error.status !== 413 || image !== file) throw error;
    const smaller = await shrink(file);
    if (smaller === file) throw error;
    scaled.set(file, smaller);
    return send(smaller);
  }
}

async function shrink(file: File): Promise<File> {
  try {
    const bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
    const scale = Math.min(1, MAX_SIDE / Math.max(bitmap.width, bitmap.height));
    const blob = await drawJpeg(bitmap, Math.round(bitmap.width * scale), Math.round(bitmap.height * scale));
    bitmap.close();
    return new File([blob], file.name.replace(/\.\w+$/, "") + ".jpg", { type: "image/jpeg" });
  } catch {
    return file;
  }
}

export function drawJpeg(source: CanvasImageSource, width: number, height: number): Promise<Blob> {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  if (context) {
    context.fillStyle = "white"; // under what is transparent, as the service lays it
    context.fillRect(0, 0, width, height);
    context.drawImage(source, 0, 0, width, height);
  }
  return new Promise((resolve, reject) => canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("no picture"))), "image/jpeg", 0.9));
}
