/** The demo: two tenants' desks side by side. */
import { Desk } from "./desk.js";
import { h } from "../shared/dom.js";
import { restoreTheme, switchTheme } from "../shared/theme.js";

const desks = [
  new Desk({ tenant: "acme", title: "Acme", user: "ada", colleague: "ben", other: "Globex" }),
  new Desk({ tenant: "globex", title: "Globex", user: "grace", colleague: "hugo", other: "Acme" }),
];
const main = document.getElementById("desks")!;
const pick = document.getElementById("pick")!;
const names = ["Acme", "Globex"];
const buttons = names.map((name, number) => h("button", { type: "button", click: () => show(number) }, name));
let shown = 0;

/** Show one desk on a narrow page. Keys act on it, or on the desk that has the focus. */
function show(number: number): void {
  shown = number;
  main.dataset["shown"] = String(number);
  buttons.forEach((button, n) => button.setAttribute("aria-pressed", String(n === number)));
}

const active = (): Desk =>
  desks.find(({ element }) => element.contains(document.activeElement)) ?? desks[shown]!;

const keys: Readonly<Record<string, () => void>> = {
  c: () => active().placeCall(),
  f: () => active().sendFax(),
  v: () => active().leaveVoicemail(),
  o: () => active().toggleOnline(),
  t: switchTheme,
  1: () => { show(0); desks[0]!.focus(); },
  2: () => { show(1); desks[1]!.focus(); },
};

addEventListener("keydown", (event) => {
  const typing = event.target instanceof HTMLElement && event.target.closest("input, select, textarea") !== null;
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  keys[event.key]?.();
});
document.getElementById("theme")!.addEventListener("click", switchTheme);
restoreTheme();
pick.append(...buttons);
main.append(...desks.map(({ element }) => element));
show(0);
for (const desk of desks) {
  desk.open().catch((error: Error) => desk.element.prepend(h("p", { class: "fatal", role: "alert" }, error.message)));
}
