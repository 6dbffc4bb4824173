/** The landing page of an installation: its services, and how to call them. */
import { h, text } from "../shared/dom.js";
import { restoreTheme, switchTheme } from "../shared/theme.js";

interface Operation { readonly kind: "rpc" | "job"; readonly name: string; readonly example: unknown }
interface Version { readonly version: string; readonly weight: number; readonly workers: number }
interface Service {
  readonly name: string;
  readonly description: string;
  readonly running: boolean;
  readonly versions: readonly Version[];
  readonly operations: readonly Operation[];
}
interface Answer { readonly headway: string; readonly services: readonly Service[] }

const EVERY = 2000;
const summary = document.getElementById("summary")!;
const list = document.getElementById("services")!;
let shown = "";

/** Quote a text for a POSIX shell. */
const quoted = (value: string): string => `'${value.replaceAll("'", "'\\''")}'`;
const plural = (n: number, what: string): string => `${n} ${what}${n === 1 ? "" : "s"}`;

function command(service: string, { kind, name, example }: Operation): HTMLElement {
  const line = `headway ${kind === "rpc" ? "call" : "submit"} ${service} ${name} ${quoted(JSON.stringify(example))} --tenant acme`;
  const copy = h("button", { class: "small", type: "button", "aria-label": `Copy: ${line}` }, "Copy");
  copy.addEventListener("click", () => {
    void navigator.clipboard.writeText(line).then(() => { text(copy, "Copied"); setTimeout(() => text(copy, "Copy"), 1500); });
  });
  return h("li", { class: "command" }, h("code", { tabindex: "0" }, line), copy);
}

function card({ name, description, running, versions, operations }: Service): HTMLElement {
  const workers = versions.reduce((total, one) => total + one.workers, 0);
  const shares = versions.map(({ version, weight }) => (versions.length > 1 ? `${version} ${weight}%` : version)).join(", ");
  const facts = running ? `${shares || "no version"}, ${plural(workers, "worker")}` : "stopped";
  return h("li", { class: "service", "data-state": running && workers === 0 ? "down" : "ok" },
    h("header", {}, h("h2", {}, name), h("span", { class: "facts" }, facts)),
    ...(description ? [h("p", {}, description)] : []),
    h("ul", { class: "commands" }, ...operations.map((one) => command(name, one))));
}

function show({ headway, services }: Answer): void {
  const running = services.filter((one) => one.running).length;
  const said = services.length === 0
    ? "No service runs here yet. `headway up` starts the services of headway.yaml."
    : `${plural(running, "service")} of this installation, by Headway ${headway}.`;
  text(summary, said);
  summary.classList.remove("bad");
  const now = JSON.stringify(services);
  if (now !== shown) list.replaceChildren(...services.map(card));
  shown = now;
}

async function refresh(): Promise<void> {
  try {
    const answer = await fetch(new URL("headway/services", document.baseURI));
    if (answer.ok) {
      show((await answer.json()) as Answer);
    } else {
      text(summary, "What runs here is shown to operators: sign in to the console.");
      return;
    }
  } catch {
    text(summary, "The installation does not answer. This page goes on trying.");
    summary.classList.add("bad");
  }
  setTimeout(() => void refresh(), EVERY);
}

restoreTheme();
document.getElementById("theme")!.addEventListener("click", switchTheme);
addEventListener("keydown", ({ key, ctrlKey, metaKey, altKey }) => {
  if (key === "t" && !ctrlKey && !metaKey && !altKey) switchTheme();
});
void refresh();
