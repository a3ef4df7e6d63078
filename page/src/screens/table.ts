// The screens: a new one is a line here. Rail and bottom bar, keys and titles are made from this table.
import type { ComponentType } from "preact";
import type { IconName } from "../parts/icon";
import type { Scope } from "../state/session";
import { say } from "../strings";
import { Ask } from "./ask";
import { Datasets } from "./datasets";
import { Jobs } from "./jobs";
import { Models } from "./models";
import { Review } from "./review";
import { Settings } from "./settings";
import { Teach } from "./teach";
import { Try } from "./try";

export interface Screen {
  /** Its part of the address: `#/teach`. */
  name: string;
  title: string;
  icon: IconName;
  /** The letter after `g`. */
  letter: string;
  /** Without all of them the screen is absent: it would read what it may not, or change nothing. */
  scopes: Scope[];
  /** Whether it has a place of its own in a phone's bottom bar; the others are under "More". */
  first: boolean;
  component: ComponentType;
}

export const screens: Screen[] = [
  { name: "teach", title: say.teach.title, icon: "teach", letter: "t", scopes: ["recognise", "learn"], first: true, component: Teach },
  { name: "try", title: say.try.title, icon: "try", letter: "y", scopes: ["recognise"], first: true, component: Try },
  { name: "ask", title: say.ask.title, icon: "ask", letter: "a", scopes: ["recognise"], first: true, component: Ask },
  { name: "review", title: say.review.title, icon: "review", letter: "r", scopes: ["recognise"], first: true, component: Review },
  { name: "jobs", title: say.jobs.title, icon: "jobs", letter: "j", scopes: ["recognise", "train"], first: false, component: Jobs },
  { name: "models", title: say.models.title, icon: "models", letter: "m", scopes: ["recognise"], first: false, component: Models },
  { name: "datasets", title: say.datasets.title, icon: "datasets", letter: "d", scopes: ["recognise", "train"], first: false, component: Datasets },
  { name: "settings", title: say.settings.title, icon: "settings", letter: "s", scopes: [], first: false, component: Settings },
];
