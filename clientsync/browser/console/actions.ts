/** Running an operator's actions: asking for confirmation first, and telling the outcome. */
import { h } from "../shared/dom.js";
import type { HeadwayError } from "../src/index.js";
import type { Action } from "./models.js";
import { may, type OperatorSession, type Role } from "./session.js";

/** Milliseconds that a success is shown. */
const SHOWN = 6000;

/** What to ask before an action is run. */
export interface Confirmation {
  readonly title: string;
  readonly text: string;
  /** The label of the button that runs the action. */
  readonly yes: string;
}

/** Ask for confirmation. Resolves with whether it was given; Escape and the other button say no. */
function confirmed({ title, text, yes }: Confirmation): Promise<boolean> {
  return new Promise((resolve) => {
    const no = h("button", { type: "submit", value: "no", class: "plain", autofocus: true }, "Cancel");
    const dialog = h("dialog", { "aria-labelledby": "confirmation", close: () => { resolve(dialog.returnValue === "yes"); dialog.remove(); } },
      h("form", { method: "dialog" },
        h("h2", { id: "confirmation" }, title), h("p", {}, text),
        h("div", { class: "buttons" }, no, h("button", { type: "submit", value: "yes", class: "danger" }, yes))));
    document.body.append(dialog);
    dialog.showModal();
  });
}

export class ActionRunner {
  readonly notes = h("div", { class: "notes", role: "log", "aria-live": "polite" });

  private role: Role | null = null;

  constructor(private readonly session: OperatorSession) {}

  /** Find out what the person may do. While it is unknown, the server alone decides. */
  async learnRole(): Promise<void> {
    this.role = await this.session.role().catch(() => null);
    document.body.dataset.role = this.role ?? "unknown";
  }

  /** Make a button that runs an action. Nothing looks done until it is: the rows show it. */
  button(label: string, request: () => { readonly action: Action; readonly confirm?: Confirmation }, kind = "small"): HTMLButtonElement {
    const button = h("button", { type: "button", class: `${kind} acts`, click: async () => {
      const { action, confirm } = request();
      if (this.role !== null && !may(this.role, action)) return this.note(`your role is ${this.role}: ask an administrator`, "bad");
      if (confirm !== undefined && !(await confirmed(confirm))) return;
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

  /** Show a message. A failure stays until it is closed. */
  note(message: string, tone: "good" | "bad"): void {
    const note = h("p", { class: tone, role: tone === "bad" ? "alert" : "status" }, message.charAt(0).toUpperCase() + message.slice(1));
    if (tone === "bad") note.append(h("button", { type: "button", class: "quiet small", "aria-label": "Close this message", click: () => note.remove() }, "Close"));
    else setTimeout(() => note.remove(), SHOWN);
    this.notes.append(note);
    while (this.notes.childElementCount > 4) this.notes.firstElementChild!.remove();
  }
}
