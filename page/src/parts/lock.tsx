// The way in where the service wants a key.
import { useState } from "preact/hooks";
import { isGoodKey, lookUpAccess } from "../state/access";
import { access, key, locked, useKey } from "../state/session";
import { say } from "../strings";
import { Icon } from "./icon";
import { ProblemNote } from "./problem";

export function Lock() {
  const [text, setText] = useState("");
  const [remember, setRemember] = useState(false);
  const [error, setError] = useState<unknown>(key.value && !access.value ? say.lock.refused : null);
  const [busy, setBusy] = useState(false);
  const enter = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      // the key before stays where this one does not work
      if (!(await isGoodKey(text.trim()))) return setError(say.lock.refused);
      useKey(text.trim(), remember);
      await lookUpAccess();
    } catch (problem) {
      setError(problem);
    } finally {
      setBusy(false);
    }
  };
  return (
    <main class="lock">
      <form class="card" onSubmit={(event) => void enter(event)}>
        <span class="lock-mark"><Icon name="key" /></span>
        <h1>{say.lock.title}</h1>
        <p class="soft">{access.value && !access.value.key_needed ? say.lock.leadOptional : say.lock.lead}</p>
        <label>
          {say.lock.label}
          <input type="password" autocomplete="off" spellcheck={false} required value={text} onInput={(event) => setText(event.currentTarget.value)} />
        </label>
        <label class="check">
          <input type="checkbox" checked={remember} onChange={(event) => setRemember(event.currentTarget.checked)} />
          <span>{say.lock.remember}<small>{say.lock.rememberHint}</small></span>
        </label>
        {error !== null && <ProblemNote error={error} />}
        <button type="submit" class="primary" disabled={busy}>{say.lock.enter}</button>
        {access.value && <button type="button" onClick={() => (locked.value = false)}>{say.app.cancel}</button>}
      </form>
    </main>
  );
}
