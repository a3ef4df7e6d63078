// The frame around the screens: rail or bottom bar, what every screen shares, and the way in where a key is needed.
import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { pause } from "./api/client";
import { goTo, hrefOf, route } from "./router";
import { shortcuts, useShortcuts } from "./keyboard";
import { Dialog } from "./parts/dialog";
import { Icon } from "./parts/icon";
import { Lock } from "./parts/lock";
import { Progress } from "./parts/progress";
import { Toasts } from "./parts/toast";
import { Waiting } from "./parts/waiting";
import { screens, type Screen } from "./screens/table";
import { lookUpAccess } from "./state/access";
import { access, key, locked, may } from "./state/session";
import { say } from "./strings";

const ASK_AGAIN_MS = 3000;
const unreachable = signal(false);
const listsKeys = signal(false);
const showsMore = signal(false);

export function App() {
  useEffect(() => {
    const stop = new AbortController();
    void comeIn(stop.signal);
    return () => stop.abort();
  }, [key.value]);
  if (locked.value) return <Lock />;
  if (!access.value) return <main class="starting">{unreachable.value ? <p role="alert">{say.app.unreachable}</p> : <Progress label={say.app.loading} />}</main>;
  return <Shell />;
}

/** Finds out who this is, again and again while the service does not answer. */
async function comeIn(signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    try {
      await lookUpAccess();
      unreachable.value = false;
      return;
    } catch {
      unreachable.value = true;
      await pause(ASK_AGAIN_MS, signal).catch(() => undefined);
    }
  }
}

const allowed = () => screens.filter((screen) => screen.scopes.every(may));

function Shell() {
  const shown = allowed();
  const current = shown.find((screen) => screen.name === route.value.screen);
  const main = useRef<HTMLElement>(null);
  const isFirst = useRef(true);
  useShortcuts(
    [
      ...shown.map((screen) => ({ keys: `g ${screen.letter}`, does: say.keys.to(screen.title), run: () => goTo(screen.name) })),
      { keys: "?", does: say.keys.list, run: () => (listsKeys.value = true) },
    ],
    [access.value],
  );
  useEffect(() => {
    const first = shown[0];
    if (!route.value.screen && first) location.replace(hrefOf(first.name));
  }, [route.value.screen]);
  useEffect(() => {
    showsMore.value = false;
    if (!current) return;
    document.title = say.app.title(current.title);
    // a screen reader hears of the new screen; whoever just loaded the page keeps the place of the browser
    const active = document.activeElement;
    if (active?.closest("nav") || (active === document.body && !isFirst.current)) main.current?.focus({ preventScroll: true });
    isFirst.current = false;
    scrollTo(0, 0);
  }, [current?.name, route.value.rest.join("/")]);
  const Current = current?.component;
  return (
    <>
      <a class="skip" href="#main" onClick={(event) => (event.preventDefault(), main.current?.focus())}>{say.app.skip}</a>
      <Navigation shown={shown} current={current} />
      <main id="main" ref={main} tabIndex={-1} data-screen={current?.name}>
        <Waiting />
        {Current ? <Current key={current.name} /> : route.value.screen ? <Absent name={route.value.screen} /> : null}
      </main>
      <Toasts />
      <KeyList />
    </>
  );
}

/** In place of a screen that the key does not allow, or that there is none of. */
function Absent({ name }: { name: string }) {
  const screen = screens.find((known) => known.name === name);
  if (!screen) return <p>{say.app.missing}</p>;
  return (
    <section class="card stack empty">
      <Icon name="key" />
      <h1>{screen.title}</h1>
      <p>{say.app.needsScope(screen.title, screen.scopes.filter((scope) => !may(scope)))}</p>
      <a class="button" href={hrefOf("settings")}>{say.settings.title}</a>
    </section>
  );
}

function Navigation({ shown, current }: { shown: Screen[]; current: Screen | undefined }) {
  const later = shown.filter((screen) => !screen.first);
  return (
    <nav class="rail" aria-label={say.app.navigation}>
      <a class="brand" href={hrefOf(shown[0]?.name ?? "settings")}>
        <Icon name="brand" />
        <span>{say.app.name}</span>
      </a>
      <ul>
        {shown.map((screen) => (
          <li key={screen.name} class={screen.first ? "" : "later"}>
            <a href={hrefOf(screen.name)} aria-current={screen === current ? "page" : undefined}>
              <Icon name={screen.icon} />
              <span>{screen.title}</span>
            </a>
          </li>
        ))}
        <li class="more">
          <button type="button" aria-haspopup="dialog" aria-current={current && !current.first ? "page" : undefined} onClick={() => (showsMore.value = true)}>
            <Icon name="more" />
            <span>{say.app.more}</span>
          </button>
        </li>
      </ul>
      <Dialog open={showsMore.value} title={say.app.more} onClose={() => (showsMore.value = false)} sheet>
        <ul class="more-list">
          {later.map((screen) => (
            <li key={screen.name}>
              <a href={hrefOf(screen.name)} onClick={() => (showsMore.value = false)}>
                <Icon name={screen.icon} />
                {screen.title}
              </a>
            </li>
          ))}
        </ul>
      </Dialog>
    </nav>
  );
}

function KeyList() {
  const fixed = [{ keys: "Esc", does: say.keys.close }, { keys: "← → ↑ ↓", does: say.keys.arrows }];
  return (
    <Dialog open={listsKeys.value} title={say.keys.title} onClose={() => (listsKeys.value = false)}>
      <dl class="key-list">
        {[...shortcuts.value, ...fixed].map((shortcut) => (
          <div key={shortcut.keys}>
            <dt>{shortcut.keys.split(" ").map((part) => <kbd key={part}>{part}</kbd>)}</dt>
            <dd>{shortcut.does}</dd>
          </div>
        ))}
      </dl>
    </Dialog>
  );
}
