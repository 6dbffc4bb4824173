/** Recordings: synthesized, so that the demo needs no microphone, and fetched to be played. */
import type { Store } from "../src/index.js";
import type { Voicemail } from "./models.js";

const RATE = 8000;

/** Return a WAV file in base64 that sounds like a voice humming a few words. */
export function hum(seconds: number): string {
  const count = Math.floor(seconds * RATE);
  const bytes = new Uint8Array(44 + count);
  const view = new DataView(bytes.buffer);
  const put = (at: number, text: string): void => { for (let i = 0; i < 4; i++) bytes[at + i] = text.charCodeAt(i); };
  put(0, "RIFF");
  view.setUint32(4, 36 + count, true);
  put(8, "WAVE");
  put(12, "fmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, 1, true);
  view.setUint32(24, RATE, true);
  view.setUint32(28, RATE, true);
  view.setUint16(32, 1, true);
  view.setUint16(34, 8, true);
  put(36, "data");
  view.setUint32(40, count, true);
  let at = 0;
  const pitch = 110 + Math.random() * 90;
  while (at < count) {
    const syllable = Math.floor(RATE * (0.09 + Math.random() * 0.16));
    const loud = 0.25 + Math.random() * 0.75;
    const tone = pitch * (0.85 + Math.random() * 0.35);
    for (let i = 0; i < syllable && at < count; i++, at++) {
      const phase = (2 * Math.PI * tone * i) / RATE;
      const voice = Math.sin(phase) + 0.5 * Math.sin(2 * phase) + 0.25 * Math.sin(3 * phase);
      bytes[44 + at] = 128 + 60 * loud * voice * Math.sin((Math.PI * i) / syllable) ** 0.6;
    }
    for (let i = Math.floor(RATE * Math.random() * (Math.random() < 0.2 ? 0.3 : 0.05)); i > 0 && at < count; i--) {
      bytes[44 + at++] = 128;
    }
  }
  let binary = "";
  for (const byte of bytes) binary += String.fromCharCode(byte);
  return btoa(binary);
}

interface Chunk {
  readonly start: number;
  readonly length: number;
  readonly total: number;
  readonly data: string;
}

/** Fetch a recording from the service and make it playable. */
export async function recording(store: Store, { message }: Voicemail): Promise<HTMLAudioElement> {
  const parts: Uint8Array<ArrayBuffer>[] = [];
  let start = 0;
  for (let total = 1; start < total; ) {
    const chunk = await store.call<Chunk>("voicemail", "fetch", { message, start });
    parts.push(Uint8Array.from(atob(chunk.data), (character) => character.charCodeAt(0)));
    start = chunk.start + chunk.length;
    total = chunk.total;
  }
  return new Audio(URL.createObjectURL(new Blob(parts, { type: "audio/wav" })));
}
