/** How calls, faxes and voicemails look. */
import type { Item } from "../src/index.js";
import { ago, clock, h, type ItemElement, svg, text } from "../shared/dom.js";
import type { Call, Fax, Voicemail } from "./models.js";

/** Blocks that show the pages of a fax, at most. In a longer fax, pages share blocks. */
const BLOCKS = 12;
const BARS = 50;

/** Returns the server's time in Unix seconds. */
type Clock = () => number;

export function callRow(now: Clock, hangUp: (item: Item<Call>) => void): (first: Item<Call>) => ItemElement<Item<Call>> {
  return (first) => {
    let item = first;
    const title = h("strong");
    const detail = h("span", { class: "detail" });
    const state = h("span", { class: "state" });
    const time = h("time");
    const button = h("button", { type: "button", class: "small", click: () => hangUp(item) }, "Hang up");
    const element = h("li", { class: "row call" }, h("span", { class: "dot", "aria-hidden": "true" }),
      h("div", { class: "what" }, title, detail), h("div", { class: "how" }, state, time), button);
    return {
      element,
      update(latest) {
        item = latest;
        const call = latest.value;
        element.dataset["state"] = call.state;
        element.classList.toggle("pending", latest.pending);
        text(title, call.caller || call.call);
        text(detail, call.skill);
        text(state, callState(call, latest.pending));
        text(time, callTime(call, now()));
        button.hidden = call.state === "ended" || call.state === "missed";
      },
    };
  };
}

function callState(call: Call, pending: boolean): string {
  if (call.state === "queued") return pending ? "Dialling" : "Ringing";
  if (call.state === "active") return `With ${call.agent ?? "an agent"}`;
  if (call.state === "ended") return `Ended, ${call.agent ?? ""}`;
  return call.reason === "no_agent" ? "Missed, no agent" : "Missed";
}

function callTime(call: Call, now: number): string {
  if (call.state === "queued") return clock(now - call.queued_at);
  if (call.state === "active") return clock(now - (call.started_at ?? now));
  return ago(call.over_at ?? now, now);
}

export function faxRow(now: Clock): ItemElement<Item<Fax>> {
  const title = h("strong");
  const detail = h("span", { class: "detail" });
  const state = h("span", { class: "state" });
  const time = h("time");
  const bar = h("div", { class: "pages", role: "progressbar", "aria-label": "Pages sent", "aria-valuemin": "0" });
  const element = h("li", { class: "row fax" }, h("span", { class: "dot", "aria-hidden": "true" }),
    h("div", { class: "what" }, title, detail), h("div", { class: "how" }, state, time), bar);
  return {
    element,
    update({ value: fax, pending }) {
      element.dataset["state"] = fax.state;
      element.classList.toggle("pending", pending);
      text(title, fax.to);
      text(detail, fax.reason ?? (fax.dials > 1 ? `dialled ${fax.dials} times` : fax.pages > 0 ? `${fax.pages} page${fax.pages === 1 ? "" : "s"}` : "letter"));
      text(state, faxState(fax, pending));
      text(time, fax.state === "sent" || fax.state === "failed" ? ago(fax.at, now()) : "");
      const blocks = Math.min(fax.pages, BLOCKS);
      while (bar.childElementCount > blocks) bar.lastElementChild!.remove();
      while (bar.childElementCount < blocks) bar.append(h("i"));
      const full = fax.pages > 0 ? Math.floor((fax.page / fax.pages) * blocks) : 0;
      [...bar.children].forEach((block, n) => {
        block.className = n < full ? "full" : n === full && fax.state === "sending" ? "now" : "";
      });
      bar.setAttribute("aria-valuemax", String(fax.pages));
      bar.setAttribute("aria-valuenow", String(fax.page));
    },
  };
}

function faxState(fax: Fax, pending: boolean): string {
  switch (fax.state) {
    case "queued": return pending ? "Not sent yet" : fax.dials > 0 ? "Will redial" : "Queued";
    case "rendering": return "Rendering";
    case "dialing": return "Dialling";
    case "sending": return `Page ${Math.min(fax.page + 1, fax.pages)} of ${fax.pages}`;
    case "sent": return "Sent";
    case "failed": return "Failed";
  }
}

export interface Recording {
  readonly item: Item<Voicemail>;
  readonly unheard: boolean;
  /** 0 to 1 while it plays; null otherwise. */
  readonly progress: number | null;
}

export function voicemailRow(
  now: Clock, play: (item: Item<Voicemail>) => void, remove: (item: Item<Voicemail>) => void,
): (first: Recording) => ItemElement<Recording> {
  return (first) => {
    let { item } = first;
    const icon = svg("path", { d: "M6 4l10 6-10 6z" });
    const button = h("button", { type: "button", class: "play", click: () => play(item) });
    button.append(svg("svg", { viewBox: "0 0 20 20", "aria-hidden": "true" }, icon));
    const title = h("strong");
    const time = h("time");
    const fresh = h("span", { class: "fresh" }, "new");
    const bars = bucketed(item.value.peaks).map((peak, n) => {
      const height = Math.max(2, peak * 30);
      return svg("rect", { x: String(n * 4), y: String(16 - height / 2), width: "2.4", height: String(height), rx: "1.2" });
    });
    const wave = svg("svg", { class: "wave", viewBox: `0 0 ${BARS * 4} 32`, preserveAspectRatio: "none", "aria-hidden": "true" }, ...bars);
    const length = h("span", { class: "detail" }, clock(item.value.seconds));
    const drop = h("button", { type: "button", class: "small quiet", click: () => remove(item) }, "Delete");
    const element = h("li", { class: "row voicemail" }, button, h("div", { class: "what" }, title, h("span", { class: "detail" }, time, fresh)), wave as unknown as HTMLElement, length, drop);
    return {
      element,
      update({ item: latest, unheard, progress }) {
        item = latest;
        element.classList.toggle("unheard", unheard);
        fresh.hidden = !unheard;
        element.classList.toggle("pending", latest.pending);
        text(title, latest.value.caller || "Unknown");
        text(time, ago(latest.value.at, now()));
        const playing = progress !== null;
        button.setAttribute("aria-label", `${playing ? "Stop" : "Play"} voicemail of ${latest.value.caller}`);
        icon.setAttribute("d", playing ? "M5 4h4v12H5zM11 4h4v12h-4z" : "M6 4l10 6-10 6z");
        const reached = playing ? progress * BARS : -1;
        bars.forEach((bar, n) => bar.classList.toggle("played", n <= reached));
      },
    };
  };
}

/** Return one peak for each bar: the highest of those that the bar stands for. */
function bucketed(peaks: readonly number[]): number[] {
  return Array.from({ length: BARS }, (_, n) => {
    const part = peaks.slice(Math.floor((n * peaks.length) / BARS), Math.max(1, Math.ceil(((n + 1) * peaks.length) / BARS)));
    return Math.max(0, ...part);
  });
}
