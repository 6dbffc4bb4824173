/** What happened lately, of all services together: scaling decisions, releases, and what operators had done. */
import { h } from "../shared/dom.js";
import type { Item, Store, View } from "../src/index.js";
import type { Done, Rollout, Scaling } from "./models.js";
import { phase, time } from "./words.js";

const SHOWN = 14;

interface Entry {
  readonly at: number;
  readonly service: string;
  readonly what: string;
  readonly said: string;
  readonly mood: string;
}

export class Lately {
  readonly list = h("ol", { class: "events" });
  readonly element = h("section", { class: "card lately" }, h("h3", {}, "Lately"), this.list);
  readonly views: readonly View<never>[];
  private readonly scaling: View<Scaling>;
  private readonly rollouts: View<Rollout>;
  private readonly actions: View<Done>;
  private shown = "";

  constructor(store: Store) {
    this.scaling = store.view<Scaling>({ type: "scaling" });
    this.rollouts = store.view<Rollout>({ type: "rollout" });
    this.actions = store.view<Done>({ type: "action", orderBy: "at", descending: true, limit: SHOWN });
    this.views = [this.scaling, this.rollouts, this.actions] as unknown as View<never>[];
  }

  show(): void {
    const all = [...this.scaling.get().items.flatMap(decided), ...this.rollouts.get().items.flatMap(released), ...this.actions.get().items.map(done)];
    const entries = all.sort((a, b) => b.at - a.at).slice(0, SHOWN);
    const now = JSON.stringify(entries);
    if (now === this.shown) return;
    this.shown = now;
    this.element.hidden = entries.length === 0;
    this.list.replaceChildren(...entries.map(({ at, service, what, said, mood }) =>
      h("li", { class: mood }, h("time", {}, time(at)), h("strong", {}, what), h("span", {}, h("b", {}, service), said))));
  }
}

const decided = ({ id, value: { decisions } }: Item<Scaling>): Entry[] =>
  decisions.slice(0, SHOWN).map(({ version, at, before, desired, reason }) =>
    ({ at, service: `${id} ${version}`, what: `${before} → ${desired} workers`, said: reason, mood: desired > before ? "up" : "down" }));

const released = ({ id, value: { version, history } }: Item<Rollout>): Entry[] =>
  history.slice(-SHOWN).reverse().map(({ at, after, weight, reason }) => ({
    at, service: `${id} ${version}`, what: after === "judge" ? `at ${weight}%` : phase(after), said: reason,
    mood: ["back", "rolled-back", "refused"].includes(after) ? "bad" : "release",
  }));

const done = ({ value: { at, by, do: what, said, ok } }: Item<Done>): Entry => ({ at, service: by, what, said, mood: ok ? "" : "bad" });
