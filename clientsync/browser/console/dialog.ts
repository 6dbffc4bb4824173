/** Asking back before something is done, and saying what came of it. */
import { h } from "../shared/dom.js";
import type { HeadwayError } from "../src/index.js";
import type { Action } from "./models.js";
import type { Session } from "./session.js";

/** Milliseconds that what was done is told. */
const TOLD = 6000;

export interface Question {
  readonly title: string;
  readonly text: string;
  /** What the button says that does it. */
  readonly yes: string;
}

/** Ask; true if it is to be done. Escape and the other button say no. */
function confirmed({ title, text, yes }: Question): Promise<boolean> {
  return new Promise((resolve) => {
    const no = h("button", { type: "submit", value: "no", class: "plain", autofocus: true }, "Cancel");
    const dialog = h("dialog", { "aria-labelledby": "question", close: () => { resolve(dialog.returnValue === "yes"); dialog.remove(); } },
      h("form", { method: "dialog" },
        h("h2", { id: "question" }, title), h("p", {}, text),
        h("div", { class: "buttons" }, no, h("button", { type: "submit", value: "yes", class: "danger" }, yes))));
    document.body.append(dialog);
    dialog.showModal();
  });
}

export class Doer {
  readonly notes = h("div", { class: "notes", role: "log", "aria-live": "polite" });

  constructor(private readonly session: Session) {}

  /** A button that has something done. Nothing looks done until it is: the rows tell. */
  button(label: string, wanted: () => { readonly action: Action; readonly ask?: Question }, kind = "small"): HTMLButtonElement {
    const button = h("button", { type: "button", class: kind, click: async () => {
      const { action, ask } = wanted();
      if (ask !== undefined && !(await confirmed(ask))) return;
      button.disabled = true;
      button.setAttribute("aria-busy", "true");
      try {
        this.note(await this.session.act(action), "good");
      } catch (error) {
        this.note((error as HeadwayError).message, "bad");
      } finally {
        button.disabled = false;
        button.removeAttribute("aria-busy");
      }
    } }, label);
    return button;
  }

  /** Say something; what went wrong stays until it is closed. */
  note(said: string, mood: "good" | "bad"): void {
    const note = h("p", { class: mood, role: mood === "bad" ? "alert" : "status" }, said.charAt(0).toUpperCase() + said.slice(1));
    if (mood === "bad") note.append(h("button", { type: "button", class: "quiet small", "aria-label": "Close this message", click: () => note.remove() }, "Close"));
    else setTimeout(() => note.remove(), TOLD);
    this.notes.append(note);
    while (this.notes.childElementCount > 4) this.notes.firstElementChild!.remove();
  }
}
