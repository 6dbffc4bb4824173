/** The installation: servers, who leads, what cannot be seen, and what operators had done here. */
import { h, text } from "../shared/dom.js";
import type { Store, View } from "../src/index.js";
import type { Done, Installation } from "./models.js";
import { megabytes, time } from "./words.js";

const SHOWN = 40;
const CONTROLLERS: Readonly<Record<string, string>> = {
  console: "keeps this page up to date", deployer: "decides where the traffic goes",
};

export class InstallationPage {
  readonly title = "Installation";
  readonly element: HTMLElement;
  readonly views: readonly View<never>[];
  private readonly installation: View<Installation>;
  private readonly actions: View<Done>;
  private readonly summary = h("p", { class: "summary" });
  private readonly servers = h("ul", { class: "rows" });
  private readonly leases = h("ul", { class: "rows" });
  private readonly blind = h("ul", { class: "rows" });
  private readonly blindCard = h("section", { class: "card" }, h("h3", {}, "Not seen"), this.blind);
  private readonly done = h("ol", { class: "events" });
  private readonly nothing = h("p", { class: "empty" }, "Nobody had anything done from this page yet.");
  private shown: unknown[] = [];

  constructor(store: Store) {
    this.installation = store.view<Installation>({ type: "installation" });
    this.actions = store.view<Done>({ type: "action", orderBy: "at", descending: true, limit: SHOWN });
    this.views = [this.installation, this.actions] as unknown as View<never>[];
    this.element = h("section", { class: "installation" }, this.summary,
      h("section", { class: "card" }, h("h3", {}, "Servers"), this.servers),
      h("section", { class: "card" }, h("h3", {}, "Who leads"), this.leases),
      this.blindCard,
      h("section", { class: "card wide" }, h("h3", {}, "What operators had done here"), this.done, this.nothing));
  }

  show(): void {
    const facts = this.installation.get().items[0]?.value;
    const done = this.actions.get().items;
    if (this.shown[0] === facts && this.shown[1] === done) return;
    this.shown = [facts, done];
    this.done.replaceChildren(...done.map(({ value: { at, by, said, ok, do: what } }) =>
      h("li", { class: ok ? "" : "bad" }, h("time", {}, time(at)), h("strong", {}, by), h("span", {}, ok ? said : `${what}: ${said}`))));
    this.nothing.hidden = done.length > 0;
    if (facts === undefined) return;
    text(this.summary, `Headway ${facts.headway} at ${facts.url}`);
    this.servers.replaceChildren(...facts.servers.map((server) =>
      h("li", {}, h("strong", {}, server.name), ...(server.leader ? [h("span", { class: "tag", "data-mood": "good" }, "leader")] : []),
        h("span", { class: "facts" }, `nats-server ${server.version}, ${megabytes(server.stored_mb)}${server.room_mb ? ` of ${megabytes(server.room_mb)}` : ""} stored`))));
    this.leases.replaceChildren(...facts.leases.map(({ controller, holder, epoch }) =>
      h("li", {}, h("strong", {}, controller), h("span", { class: "facts" }, `${holder}, ${CONTROLLERS[controller] ?? (controller.startsWith("scaler") ? "decides how many workers" : "")}; leader number ${epoch}`))));
    const blind = Object.entries(facts.blind);
    this.blindCard.hidden = blind.length === 0;
    this.blind.replaceChildren(...blind.map(([what, why]) => h("li", {}, h("strong", {}, what), h("span", { class: "facts" }, why))));
  }
}
