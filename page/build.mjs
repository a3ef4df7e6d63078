// Builds the page into app/page/built, the same bytes each time: `node build.mjs`, `--check` (fails where the committed
// files differ), `--watch` (unminified, again at each change).
import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import * as esbuild from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const target = join(here, "../app/page/built");
const watch = process.argv.includes("--watch");

const options = {
  absWorkingDir: here,
  entryPoints: { app: "src/main.tsx" },
  bundle: true,
  write: false,
  outdir: "out",
  format: "esm",
  target: "es2022",
  minify: !watch,
  charset: "utf8",
  legalComments: "none", // they are in licences.txt
  jsx: "automatic",
  jsxImportSource: "preact",
  define: { "process.env.NODE_ENV": '"production"' },
  logLevel: "warning",
};

const hashed = (name, bytes) => {
  const [, stem, suffix] = /^(.*)\.(\w+)$/.exec(name);
  return `${stem}-${createHash("sha256").update(bytes).digest("hex").slice(0, 10)}.${suffix}`;
};

/** Files of the page by name. A name with a hash never changes its content, so that browsers may keep it for good. */
async function assemble(outputs) {
  const files = new Map();
  const names = new Map();
  const add = (name, bytes) => {
    names.set(name, hashed(name, bytes));
    files.set(names.get(name), bytes);
  };
  const read = (name) => readFile(join(here, "static", name));
  for (const output of outputs) add(output.path.split(/[\\/]/).at(-1), Buffer.from(output.contents));
  add("icons.svg", await read("icons.svg"));
  const fill = (text) => text.replace(/\{\{(.+?)\}\}/g, (_, name) => {
    if (!names.has(name)) throw new Error(`no such file of the page: ${name}`);
    return names.get(name);
  });
  add("page.webmanifest", Buffer.from(fill((await read("page.webmanifest")).toString())));
  files.set("index.html", Buffer.from(fill((await read("index.html")).toString())));
  for (const name of (await readdir(join(here, "static/samples"))).sort()) files.set(name, await read(`samples/${name}`));
  files.set("licences.txt", Buffer.from(await licences()));
  return files;
}

/** The licences of every package whose code is in the page. */
async function licences() {
  const lock = JSON.parse(await readFile(join(here, "package-lock.json"), "utf8"));
  const shipped = Object.entries(lock.packages).filter(([path, entry]) => path && !entry.dev).sort(([a], [b]) => (a < b ? -1 : 1));
  const texts = [];
  for (const [path, entry] of shipped) {
    const folder = join(here, path);
    const file = (await readdir(folder)).find((name) => /^licen[cs]e/i.test(name));
    if (!file) throw new Error(`${path} has no licence file`);
    texts.push(`${path.replace("node_modules/", "")} ${entry.version}\n\n${(await readFile(join(folder, file), "utf8")).trim()}\n`);
  }
  return `This page holds code of these packages.\n\n${texts.join(`\n${"-".repeat(80)}\n\n`)}`;
}

async function write(files) {
  await mkdir(target, { recursive: true });
  for (const name of await readdir(target)) if (!files.has(name)) await rm(join(target, name));
  for (const [name, bytes] of files) await writeFile(join(target, name), bytes);
}

async function check(files) {
  const there = await readdir(target);
  const wrong = there.filter((name) => !files.has(name)).map((name) => `${name} is not built any more`);
  for (const [name, bytes] of files) {
    if (!there.includes(name)) wrong.push(`${name} is missing`);
    else if (!bytes.equals(await readFile(join(target, name)))) wrong.push(`${name} differs`);
  }
  if (wrong.length) {
    console.error(`app/page/built is not what page/ builds: ${wrong.join("; ")}. Run \`make page\`.`);
    process.exit(1);
  }
}

if (watch) {
  const plugin = { name: "write", setup: (build) => build.onEnd(async ({ outputFiles, errors }) => {
    if (!errors.length) await write(await assemble(outputFiles));
  }) };
  await (await esbuild.context({ ...options, plugins: [plugin] })).watch();
} else {
  const files = await assemble((await esbuild.build(options)).outputFiles);
  await (process.argv.includes("--check") ? check : write)(files);
}
