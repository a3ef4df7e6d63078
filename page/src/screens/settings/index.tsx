// Settings: who calls, keys, how the service is, how other programs reach it, and how the page looks.
import { addressOf } from "../../api/client";
import { Icon } from "../../parts/icon";
import { ShowCall } from "../../parts/show-call";
import { access, key, locked, may, remembered, useKey } from "../../state/session";
import { theme, type Theme } from "../../state/theme";
import { say } from "../../strings";
import { Connect } from "./connect";
import { Health } from "./health";
import { Keys } from "./keys";
import "./settings.css";

const THEMES: Theme[] = ["system", "light", "dark"];

export function Settings() {
  return (
    <>
      <header class="screen-head">
        <h1>{say.settings.title}</h1>
        <ShowCall />
      </header>
      <div class="settings">
        <div class="stack">
          <Caller />
          <section class="card stack">
            <h2>{say.settings.look}</h2>
            <fieldset class="segments">
              <legend class="unseen">{say.settings.look}</legend>
              {THEMES.map((name) => (
                <label key={name} class="segment">
                  <input type="radio" name="theme" checked={theme.value === name} onChange={() => (theme.value = name)} />
                  <span>{say.settings.themes[name]}</span>
                </label>
              ))}
            </fieldset>
          </section>
        </div>
        <div class="stack">
          {may("recognise") && <Health />}
          <section class="card stack">
            <h2>{say.settings.about}</h2>
            <ul class="links">
              <li><a href={addressOf("docs").href}><Icon name="link" />{say.settings.docs}</a></li>
              <li><a href={addressOf("openapi.json").href}><Icon name="link" />{say.settings.openapi}</a></li>
              <li><a href={addressOf("page/licences.txt").href}><Icon name="link" />{say.settings.licences}</a></li>
            </ul>
          </section>
        </div>
        {may("admin") && <Keys />}
        <Connect />
      </div>
    </>
  );
}

function Caller() {
  const who = access.value;
  if (!who) return null;
  return (
    <section class="card stack">
      <h2>{say.settings.access}</h2>
      <p>{key.value && who.key_id ? say.settings.withKey(who.workspace) : say.settings.withoutKey(who.workspace)}</p>
      <ul class="scopes">
        {who.scopes.map((scope) => (
          <li key={scope}><strong>{scope}</strong> <span class="soft">{say.scopes[scope]}</span></li>
        ))}
      </ul>
      {key.value && who.key_id && (
        <label class="check">
          <input type="checkbox" checked={remembered.value} onChange={(event) => useKey(key.value, event.currentTarget.checked)} />
          <span>{say.lock.remember}<small>{say.lock.rememberHint}</small></span>
        </label>
      )}
      <div class="row">
        <button type="button" onClick={() => (locked.value = true)}><Icon name="key" />{key.value ? say.settings.otherKey : say.settings.useKey}</button>
        {key.value && <button type="button" onClick={() => useKey(null, false)}>{say.settings.forgetKey}</button>}
      </div>
    </section>
  );
}
