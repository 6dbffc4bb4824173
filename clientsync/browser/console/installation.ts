/** The installation: servers, leaders, what cannot be observed, and the actions of operators. */
import { h, text } from "../shared/dom.js";
import type { Store, View } from "../src/index.js";
import { megabytes, time } from "./format.js";
import type { Installation, OperatorAction } from "./models.js";

const SHOWN = 40;
const CONTROLLERS: Readonly<Record<string, string>> = {
  console: "keeps this page up to date", deployer: "splits the traffic",
};

export class InstallationPage {
  readonly title = "Installation";
  readonly element: HTMLElement;
  readonly views: readonly View<never>[];
  private readonly installation: View<Installation>;
  private readonly actions: View<OperatorAction>;
  private readonly summary = h("p", { class: "summary" });
  private readonly servers = h("ul", { class: "rows" });
  private readonly leases = h("ul", { class: "rows" });
  private readonly blind = h("ul", { class: "rows" });
  private readonly blindCard = h("section", { class: "card" }, h("h3", {}, "Not observed"), this.blind);
  private readonly done = h("ol", { class: "events" });
  private readonly nothing = h("p", { class: "empty" }, "No operator has run an action on this page yet.");
  private shown: unknown[] = [];

  constructor(store: Store) {
    this.installation = store.view<Installation>({ type: "installation" });
    this.actions = store.view<OperatorAction>({ type: "action", orderBy: "at", descending: true, limit: SHOWN });
    this.views = [this.installation, this.actions] as unknown as View<never>[];
    this.element = h("section", { class: "installation" }, this.summary,
      h("section", { class: "card" }, h("h3", {}, "Servers"), this.servers),
      h("section", { class: "card" }, h("h3", {}, "Leaders"), this.leases),
      this.blindCard,
      h("section", { class: "card wide" }, h("h3", {}, "Actions of operators"), this.done, this.nothing));
  }

  show(): void {
    const facts = this.installation.get().items[0]?.value;
    const actions = this.actions.get().items;
    if (this.shown[0] === facts && this.shown[1] === actions) return;
    this.shown = [facts, actions];
    this.done.replaceChildren(...actions.map(({ value: { at, by, said, ok, do: what } }) =>
      h("li", { class: ok ? "" : "bad" }, h("time", {}, time(at)), h("strong", {}, by), h("span", {}, ok ? said : `${what}: ${said}`))));
    this.nothing.hidden = actions.length > 0;
    if (facts === undefined) return;
    text(this.summary, `Headway ${facts.headway} at ${facts.url}`);
    this.servers.replaceChildren(...facts.servers.map((server) =>
      h("li", {}, h("strong", {}, server.name), ...(server.leader ? [h("span", { class: "tag", "data-tone": "good" }, "leader")] : []),
        h("span", { class: "facts" }, `nats-server ${server.version}, ${megabytes(server.stored_mb)}${server.room_mb ? ` of ${megabytes(server.room_mb)}` : ""} stored`))));
    this.leases.replaceChildren(...facts.leases.map(({ controller, holder, epoch }) =>
      h("li", {}, h("strong", {}, controller), h("span", { class: "facts" }, `${holder}, ${CONTROLLERS[controller] ?? (controller.startsWith("scaler") ? "decides the number of workers" : "")}; term ${epoch}`))));
    const blind = Object.entries(facts.blind);
    this.blindCard.hidden = blind.length === 0;
    this.blind.replaceChildren(...blind.map(([what, why]) => h("li", {}, h("strong", {}, what), h("span", { class: "facts" }, why))));
  }
}
