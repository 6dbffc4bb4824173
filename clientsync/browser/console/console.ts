/** The operator's console: a store of what the installation does, and the pages that show it. */
import { beforePaint, h, text } from "../shared/dom.js";
import { restoreTheme, switchTheme } from "../shared/theme.js";
import { forget, type HeadwayError, openStore, type Store, type View } from "../src/index.js";
import { DeadPage } from "./dead.js";
import { Doer } from "./dialog.js";
import { InstallationPage } from "./installation.js";
import { type Installation, TYPES } from "./models.js";
import { Overview } from "./overview.js";
import { ServicePage } from "./service.js";
import { Session } from "./session.js";
import { count, span } from "./words.js";

/** Milliseconds without a sign of life of whoever keeps the rows up to date. */
const SILENT = 30_000;
const CACHE = { types: TYPES, cache: "headway/operator" };

interface Shown {
  readonly title: string;
  readonly element: HTMLElement;
  readonly views: readonly View<never>[];
  show(): void;
}

const main = document.getElementById("main")!;
const nav = document.getElementById("nav")!;
const pill = document.getElementById("status")!;
const banner = document.getElementById("banner")!;
const out = document.getElementById("out") as HTMLButtonElement;
const session = new Session();
const doer = new Doer(session);

class Console {
  private page: Shown | undefined;
  private stops: (() => void)[] = [];
  private heard = Date.now();
  private pulse: unknown;
  private readonly installation: View<Installation>;
  private readonly links = [["#/", "Services"], ["#/dead", "Dead letters"], ["#/installation", "Installation"]] as const;
  private readonly anchors = this.links.map(([href, name]) => h("a", { href }, name));
  private readonly dead = h("span", { class: "count" });
  private readonly paint = beforePaint(() => this.render());

  constructor(private readonly store: Store) {
    Object.assign(main, { store }); // for whoever looks at the page with the developer tools
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
    this.page = where === "service" && name !== "" ? new ServicePage(this.store, doer, name)
      : where === "dead" ? new DeadPage(this.store, doer, name)
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
    this.status();
  }

  /** Whether what is shown is so, and since when it may not be. */
  private status(): void {
    const { status } = this.store;
    const pulse = this.store.read("pulse", "projector");
    if (pulse !== this.pulse || status !== "current") this.heard = Date.now();
    this.pulse = pulse;
    const silent = Date.now() - this.heard;
    const stale = status === "current" && (pulse === undefined || silent > SILENT);
    pill.dataset["status"] = stale ? "stored" : status === "stored" ? "offline" : status;
    text(pill, stale ? "Not kept up to date" : status === "current" ? "Live" : status === "syncing" ? "Catching up" : "Offline");
    const at = (pulse?.value as { at: number } | undefined)?.at;
    const since = at === undefined ? "" : ` This is how it was ${span(Date.now() / 1000 - at)} ago.`;
    text(banner, status === "stored" ? `No connection.${since}` : stale && silent > SILENT ? `Nobody keeps this page up to date: does \`headway web\` run?${since}` : "");
    banner.hidden = banner.textContent === "";
    main.classList.toggle("stale", stale || status === "stored");
  }

  readonly go = (n: number): void => { location.hash = this.links[n]![0]; };

  search(): void {
    if (!(this.page instanceof DeadPage)) {
      history.pushState(null, "", this.links[1][0]); // at once: what is typed next is for the field
      this.route();
    }
    if (this.page instanceof DeadPage) this.page.search();
  }

  /** Move among the rows of what is shown. */
  move(by: number): void {
    const links = [...main.querySelectorAll<HTMLElement>("tbody a.link:not(td a), .letter summary")];
    const now = links.indexOf(document.activeElement as HTMLElement);
    links[Math.max(0, Math.min(links.length - 1, now + by))]?.focus();
  }

  /** Nobody is signed in any more. */
  async end(why?: HeadwayError): Promise<void> {
    this.ended();
    await this.store.close();
    if (why === undefined) await session.leave();
    else session.forget();
    await forget(CACHE);
    signIn(why);
  }
}

let console_: Console | undefined;

/** Ask who it is. */
function signIn(why?: HeadwayError): void {
  console_ = undefined;
  out.hidden = pill.hidden = banner.hidden = true;
  nav.replaceChildren();
  document.title = "Sign in · Headway";
  const said = h("p", { class: "bad", role: "alert" }, why?.message ?? "");
  said.hidden = why === undefined;
  const code = h("input", { name: "code", type: "password", autocomplete: "off", required: true, "aria-label": "Code or token", placeholder: "Address, code or token" });
  const form = h("form", { class: "card sign-in", submit: (event) => {
    event.preventDefault();
    session.enter(code.value).then(open, (error: HeadwayError) => { said.hidden = false; text(said, error.message); });
  } }, h("h2", {}, "Sign in"),
    h("p", {}, "Open the address that ", h("code", {}, "headway up"), " or ", h("code", {}, "headway console"), " prints; it lets one browser in, once. Or paste it here, or a token of your application that says you are an operator."),
    code, h("button", { type: "submit" }, "Sign in"), said);
  main.className = "";
  main.replaceChildren(form);
  code.focus();
}

async function open(): Promise<void> {
  const store = await openStore({ session: { url: "/console/session", token: session.current }, ...CACHE });
  out.hidden = pill.hidden = false;
  console_ = new Console(store);
}

const keys: Readonly<Record<string, () => void>> = {
  1: () => console_?.go(0), 2: () => console_?.go(1), 3: () => console_?.go(2), t: switchTheme,
  "/": () => console_?.search(), j: () => console_?.move(1), k: () => console_?.move(-1),
  Escape: () => { if (location.hash.startsWith("#/service") || location.hash.startsWith("#/dead")) console_?.go(0); },
};

addEventListener("keydown", (event) => {
  const target = event.target as Element;
  const elsewhere = target.closest?.("input, select, textarea, dialog") !== null;
  if (elsewhere || event.ctrlKey || event.metaKey || event.altKey) return;
  const work = keys[event.key];
  if (work === undefined) return;
  event.preventDefault();
  work();
});
document.getElementById("theme")!.addEventListener("click", switchTheme);
out.addEventListener("click", () => void console_?.end());
document.body.append(doer.notes);
restoreTheme();
session.arrive().then(() => (session.signedIn ? open() : signIn()), signIn);
