/** The operator's console: a store of the state of the installation, and the pages that show it. */
import { beforePaint, h, text } from "../shared/dom.js";
import { restoreTheme, switchTheme } from "../shared/theme.js";
import { forget, type HeadwayError, openStore, type Store, type View } from "../src/index.js";
import { ActionRunner } from "./actions.js";
import { DeadLettersPage } from "./dead.js";
import { count, span } from "./format.js";
import { InstallationPage } from "./installation.js";
import { type Installation, TYPES } from "./models.js";
import { Overview } from "./overview.js";
import { ServicePage } from "./service.js";
import { endpoint, OperatorSession } from "./session.js";

/** Milliseconds without a heartbeat of the projector after which the rows count as stale. */
const SILENT = 30_000;
const CACHE = { types: TYPES, cache: "headway/operator" };

interface ConsolePage {
  readonly title: string;
  readonly element: HTMLElement;
  readonly views: readonly View<never>[];
  show(): void;
}

const main = document.getElementById("main")!;
const nav = document.getElementById("nav")!;
const pill = document.getElementById("status")!;
const banner = document.getElementById("banner")!;
const signOut = document.getElementById("sign-out") as HTMLButtonElement;
const session = new OperatorSession();
const runner = new ActionRunner(session);

class Console {
  private page: ConsolePage | undefined;
  private stops: (() => void)[] = [];
  private lastPulse = performance.now();
  private pulse: unknown;
  private readonly installation: View<Installation>;
  private readonly links = [["#/", "Services"], ["#/dead", "Dead letters"], ["#/installation", "Installation"]] as const;
  private readonly anchors = this.links.map(([href, name]) => h("a", { href }, name));
  private readonly dead = h("span", { class: "count" });
  private readonly paint = beforePaint(() => this.render());

  constructor(private readonly store: Store) {
    Object.assign(main, { store }); // for the developer tools
    this.installation = store.view<Installation>({ type: "installation" });
    this.anchors[1]!.append(this.dead);
    nav.replaceChildren(...this.anchors);
    const stay = [this.installation, store.view({ type: "pulse" })].map((view) => view.subscribe(this.paint));
    const off = [
      store.on("status", this.paint),
      store.on("trouble", (error) => { if (error.status === 401 || error.status === 403) void this.end(error); }),
    ];
    const follow = (): void => this.route();
    addEventListener("hashchange", follow);
    const ticking = setInterval(this.paint, 1000);
    this.ended = () => {
      for (const stop of [...stay, ...off, ...this.stops]) stop();
      removeEventListener("hashchange", follow);
      clearInterval(ticking);
    };
    this.route();
  }

  private readonly ended: () => void;

  /** Show the page that the address names. */
  private route(): void {
    const [where = "", name = ""] = location.hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
    for (const stop of this.stops) stop();
    this.page = where === "service" && name !== "" ? new ServicePage(this.store, runner, name)
      : where === "dead" ? new DeadLettersPage(this.store, runner, name)
      : where === "installation" ? new InstallationPage(this.store) : new Overview(this.store);
    this.stops = this.page.views.map((view) => view.subscribe(this.paint));
    const current = where === "dead" ? 1 : where === "installation" ? 2 : 0;
    this.anchors.forEach((anchor, n) => anchor.setAttribute("aria-current", n === current ? "page" : "false"));
    document.title = `${this.page.title} · Headway`;
    main.replaceChildren(this.page.element);
    scrollTo(0, 0);
    this.render();
  }

  private render(): void {
    this.page?.show();
    const dead = this.installation.get().items[0]?.value.dead ?? 0;
    text(this.dead, dead === 0 ? "" : count(dead));
    this.showStatus();
  }

  /** Show whether the page is up to date, and if not, since when. */
  private showStatus(): void {
    const { status } = this.store;
    const pulse = this.store.read("pulse", "projector");
    if (pulse !== this.pulse || status !== "current") this.lastPulse = performance.now();
    this.pulse = pulse;
    const silent = performance.now() - this.lastPulse;
    const stale = status === "current" && (pulse === undefined || silent > SILENT);
    pill.dataset["status"] = stale ? "stored" : status === "stored" ? "offline" : status;
    text(pill, stale ? "Not kept up to date" : status === "current" ? "Live" : status === "syncing" ? "Catching up" : "Offline");
    const at = (pulse?.value as { at: number } | undefined)?.at;
    const since = at === undefined ? "" : ` The page shows the state of ${span(this.store.now() / 1000 - at)} ago.`;
    text(banner, status === "stored" ? `No connection.${since}` : stale && silent > SILENT ? `Nothing keeps this page up to date: is \`headway web\` running?${since}` : "");
    banner.hidden = banner.textContent === "";
    main.classList.toggle("stale", stale || status === "stored");
  }

  readonly go = (n: number): void => { location.hash = this.links[n]![0]; };

  search(): void {
    if (!(this.page instanceof DeadLettersPage)) {
      history.pushState(null, "", this.links[1][0]); // without waiting for an event: the next key is for the field
      this.route();
    }
    if (this.page instanceof DeadLettersPage) this.page.search();
  }

  /** Move the focus among the rows of the page. */
  move(by: number): void {
    const links = [...main.querySelectorAll<HTMLElement>("tbody a.link:not(td a), .letter summary")];
    const now = links.indexOf(document.activeElement as HTMLElement);
    links[Math.max(0, Math.min(links.length - 1, now + by))]?.focus();
  }

  /** Sign out. */
  async end(why?: HeadwayError): Promise<void> {
    this.ended();
    await this.store.close();
    if (why === undefined) await session.signOut();
    else session.forget();
    await forget(CACHE);
    signIn(why);
  }
}

let openConsole: Console | undefined;

/** Show the form to sign in. */
function signIn(why?: HeadwayError): void {
  openConsole = undefined;
  signOut.hidden = pill.hidden = banner.hidden = true;
  nav.replaceChildren();
  document.title = "Sign in · Headway";
  const message = h("p", { class: "bad", role: "alert" }, why?.message ?? "");
  message.hidden = why === undefined;
  const code = h("input", { name: "code", type: "password", autocomplete: "off", required: true, "aria-label": "Code or token", placeholder: "Address, code or token" });
  const form = h("form", { class: "card sign-in", submit: (event) => {
    event.preventDefault();
    session.signIn(code.value).then(open, (error: HeadwayError) => { message.hidden = false; text(message, error.message); });
  } }, h("h2", {}, "Sign in"),
    h("p", {}, "Open the address that ", h("code", {}, "headway up"), " or ", h("code", {}, "headway console"), " prints: it works once. Or paste it here, or a token of your application that makes you an operator."),
    code, h("button", { type: "submit" }, "Sign in"), message);
  main.className = "";
  main.replaceChildren(form);
  code.focus();
}

async function open(): Promise<void> {
  void runner.learnRole();
  const store = await openStore({ session: { url: endpoint("session"), token: session.current }, ...CACHE });
  signOut.hidden = pill.hidden = false;
  openConsole = new Console(store);
}

const keys: Readonly<Record<string, () => void>> = {
  1: () => openConsole?.go(0), 2: () => openConsole?.go(1), 3: () => openConsole?.go(2), t: switchTheme,
  "/": () => openConsole?.search(), j: () => openConsole?.move(1), k: () => openConsole?.move(-1),
  Escape: () => { if (location.hash.startsWith("#/service") || location.hash.startsWith("#/dead")) openConsole?.go(0); },
};

addEventListener("keydown", (event) => {
  const target = event.target as Element;
  const typing = target.closest?.("input, select, textarea, dialog") !== null;
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const work = keys[event.key];
  if (work === undefined) return;
  event.preventDefault();
  work();
});
document.getElementById("theme")!.addEventListener("click", switchTheme);
signOut.addEventListener("click", () => void openConsole?.end());
document.body.append(runner.notes);
restoreTheme();
session.fromAddress().then(() => (session.signedIn ? open() : signIn()), signIn);
