/** Recent activity of all services together: scaling decisions, releases, and what operators did. */
import { h } from "../shared/dom.js";
import type { Item, Store, View } from "../src/index.js";
import { phase, plural, time } from "./format.js";
import type { OperatorAction, Rollout, Scaling } from "./models.js";

const SHOWN = 14;

interface ActivityEntry {
  readonly at: number;
  readonly service: string;
  readonly what: string;
  readonly detail: string;
  readonly tone: string;
}

export class Activity {
  readonly list = h("ol", { class: "events" });
  readonly element = h("section", { class: "card activity" }, h("h3", {}, "Recent activity"), this.list);
  readonly views: readonly View<never>[];
  private readonly scaling: View<Scaling>;
  private readonly rollouts: View<Rollout>;
  private readonly actions: View<OperatorAction>;
  private shown = "";

  constructor(store: Store) {
    this.scaling = store.view<Scaling>({ type: "scaling" });
    this.rollouts = store.view<Rollout>({ type: "rollout" });
    this.actions = store.view<OperatorAction>({ type: "action", orderBy: "at", descending: true, limit: SHOWN });
    this.views = [this.scaling, this.rollouts, this.actions] as unknown as View<never>[];
  }

  show(): void {
    const all = [...this.scaling.get().items.flatMap(scalingEntries), ...this.rollouts.get().items.flatMap(rolloutEntries), ...this.actions.get().items.map(actionEntry)];
    const entries = all.sort((a, b) => b.at - a.at).slice(0, SHOWN);
    const content = JSON.stringify(entries);
    if (content === this.shown) return;
    this.shown = content;
    this.element.hidden = entries.length === 0;
    this.list.replaceChildren(...entries.map(({ at, service, what, detail, tone }) =>
      h("li", { class: tone }, h("time", {}, time(at)), h("strong", {}, what), h("span", {}, h("b", {}, service), detail))));
  }
}

const scalingEntries = ({ id, value: { decisions } }: Item<Scaling>): ActivityEntry[] =>
  decisions.slice(0, SHOWN).map(({ version, at, before, desired, reason }) =>
    ({ at, service: `${id} ${version}`, what: `${before} → ${plural(desired, "worker")}`, detail: reason, tone: desired > before ? "up" : "down" }));

const rolloutEntries = ({ id, value: { version, history } }: Item<Rollout>): ActivityEntry[] =>
  history.slice(-SHOWN).reverse().map(({ at, after, weight, reason }) => ({
    at, service: `${id} ${version}`, what: after === "judge" ? `at ${weight}%` : phase(after), detail: reason,
    tone: ["back", "rolled-back", "refused"].includes(after) ? "bad" : "release",
  }));

const actionEntry = ({ value: { at, by, do: what, said, ok } }: Item<OperatorAction>): ActivityEntry => ({ at, service: by, what, detail: said, tone: ok ? "" : "bad" });
