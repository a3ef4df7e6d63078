// "Show the call": the curl line of what was just done on this screen.
import { useState } from "preact/hooks";
import { lastCall } from "../api/client";
import { needsKey } from "../state/session";
import { say } from "../strings";
import { CopyBlock } from "./copy";
import { Dialog } from "./dialog";
import { Icon } from "./icon";

export function ShowCall() {
  const [open, setOpen] = useState(false);
  return (
    <>
      <button type="button" class="quiet show-call" aria-haspopup="dialog" onClick={() => setOpen(true)}>
        <Icon name="terminal" />
        <span class="head-text">{say.call.show}</span>
      </button>
      <Dialog open={open} title={say.call.title} onClose={() => setOpen(false)} wide>
        {lastCall.value ? <CopyBlock text={lastCall.value} /> : <p>{say.call.none}</p>}
        {lastCall.value && needsKey.value && <p class="soft">{say.call.keyLeftOut}</p>}
      </Dialog>
    </>
  );
}
