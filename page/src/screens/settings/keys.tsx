// API keys: made (and shown this once), listed, revoked.
import { useEffect, useState } from "preact/hooks";
import { call, readAll } from "../../api/client";
import type { Key, NewKey } from "../../api/schema";
import { CopyBlock } from "../../parts/copy";
import { Dialog } from "../../parts/dialog";
import { Icon } from "../../parts/icon";
import { useOneAtATime } from "../../parts/one-at-a-time";
import { ProblemNote } from "../../parts/problem";
import { tell } from "../../parts/toast";
import { access, type Scope } from "../../state/session";
import { say } from "../../strings";

const SCOPES: Scope[] = ["recognise", "learn", "train", "metrics", "admin"];

export function Keys() {
  const [keys, setKeys] = useState<readonly Key[]>([]);
  const [error, setError] = useState<unknown>(null);
  const [making, setMaking] = useState(false);
  const [revoking, setRevoking] = useState<Key | null>(null);
  const load = () => readAll("GET /v1/keys", {}).then((rows) => (setKeys([...rows]), setError(null)), setError);
  useEffect(() => void load(), []);
  const revoke = async (key: Key) => {
    setRevoking(null);
    try {
      await call("DELETE /v1/keys/{key_id}", { path: { key_id: key.id }, showCall: true });
      tell(say.settings.revoked(key.name));
      await load();
    } catch (problem) {
      setError(problem);
    }
  };
  return (
    <section class="card stack wide">
      <div class="row">
        <h2 class="grow">{say.settings.keys}</h2>
        <button type="button" onClick={() => setMaking(true)}><Icon name="plus" />{say.settings.makeKey}</button>
      </div>
      {error !== null && <ProblemNote error={error} onRetry={() => void load()} />}
      {keys.length === 0 ? (
        <p class="soft">{say.settings.noKeys}</p>
      ) : (
        <div class="scroll" tabIndex={0} role="region" aria-label={say.settings.keys}>
          <table>
            <thead><tr>{say.settings.keyColumns.map((title) => <th scope="col" key={title}>{title}</th>)}<th scope="col"><span class="unseen">{say.settings.revoke}</span></th></tr></thead>
            <tbody>
              {keys.map((key) => (
                <tr key={key.id}>
                  <th scope="row" dir="auto">{key.name}{key.id === access.value?.key_id && <small> {say.settings.thisKey}</small>}</th>
                  <td><code>{key.hint}…</code></td>
                  <td>{key.workspace}</td>
                  <td>{key.scopes.join(", ")}</td>
                  <td>{key.expires_at ? new Date(key.expires_at).toLocaleDateString() : say.settings.never}</td>
                  <td><button type="button" class="quiet" onClick={() => setRevoking(key)} aria-label={say.settings.revokeKey(key.name)}>{say.settings.revoke}</button></td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      <MakeKey open={making} onClose={() => (setMaking(false), void load())} />
      <Dialog open={revoking !== null} title={say.settings.revokeKey(revoking?.name ?? "")} onClose={() => setRevoking(null)}>
        <p>{say.settings.revokeLead}</p>
        <button type="button" class="danger" onClick={() => revoking && void revoke(revoking)}>{say.settings.revoke}</button>
      </Dialog>
    </section>
  );
}

function MakeKey({ open, onClose }: { open: boolean; onClose: () => void }) {
  const [name, setName] = useState("");
  const [scopes, setScopes] = useState<Scope[]>(["recognise", "learn"]);
  const [days, setDays] = useState("");
  const [made, setMade] = useState<NewKey | null>(null);
  const [error, setError] = useState<unknown>(null);
  const close = () => {
    setMade(null);
    setName("");
    setError(null);
    onClose();
  };
  const make = useOneAtATime(async () => {
    try {
      const wanted = { name: name.trim(), scopes, ...(days ? { expires_in_days: Number(days) } : {}) };
      setMade(await call("POST /v1/keys", { json: wanted, showCall: true }));
      setError(null);
    } catch (problem) {
      setError(problem);
    }
  });
  return (
    <Dialog open={open} title={made ? say.settings.made : say.settings.makeKey} onClose={close} stays={made !== null}>
      {made ? (
        <>
          <p>{say.settings.once}</p>
          <CopyBlock title={made.name} text={made.key} />
          <button type="button" class="primary" onClick={close}>{say.settings.done}</button>
        </>
      ) : (
        <form class="stack" onSubmit={(event) => (event.preventDefault(), make())}>
          <label>{say.settings.keyName}<input value={name} required autofocus maxLength={200} onInput={(event) => setName(event.currentTarget.value)} /></label>
          <fieldset>
            <legend>{say.settings.mayDo}</legend>
            {SCOPES.map((scope) => (
              <label key={scope} class="check">
                <input type="checkbox" checked={scopes.includes(scope)} onChange={(event) => setScopes(event.currentTarget.checked ? [...scopes, scope] : scopes.filter((held) => held !== scope))} />
                <span>{scope}<small>{say.scopes[scope]}</small></span>
              </label>
            ))}
          </fieldset>
          <label>{say.settings.days}<input type="number" min={1} max={36500} value={days} placeholder={say.settings.never} onInput={(event) => setDays(event.currentTarget.value)} /></label>
          {error !== null && <ProblemNote error={error} />}
          <button type="submit" class="primary" disabled={!scopes.length}>{say.settings.makeKey}</button>
        </form>
      )}
    </Dialog>
  );
}
