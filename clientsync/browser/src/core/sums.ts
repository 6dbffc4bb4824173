/**
 * The checksum of a set of objects: their number, and the 64-bit sum of a hash of each one's type, id and sequence. It does
 * not depend on their order, so a change costs one subtraction and one addition.
 */
import { sha256head } from "./sha256.js";

export class Sum {
  constructor(
    public count = 0,
    private high = 0,
    private low = 0,
  ) {}

  add(type: string, id: string, seq: number): void {
    this.count++;
    const [high, low] = sha256head(`${type}.${id}.${seq}`);
    this.plus(high, low);
  }

  remove(type: string, id: string, seq: number): void {
    this.count--;
    const [high, low] = sha256head(`${type}.${id}.${seq}`);
    // Two's complement over both words.
    const minusLow = -low >>> 0;
    this.plus((~high + (minusLow === 0 ? 1 : 0)) >>> 0, minusLow);
  }

  /** Add another sum. */
  join(other: Sum): void {
    this.count += other.count;
    this.plus(other.high, other.low);
  }

  copy(): Sum {
    return new Sum(this.count, this.high, this.low);
  }

  /** 16 hexadecimal digits. */
  get hex(): string {
    return this.high.toString(16).padStart(8, "0") + this.low.toString(16).padStart(8, "0");
  }

  is(count: number, sum: string): boolean {
    return count === this.count && sum === this.hex;
  }

  private plus(high: number, low: number): void {
    const sum = this.low + low;
    this.low = sum >>> 0;
    this.high = (this.high + high + (sum > 0xffffffff ? 1 : 0)) >>> 0;
  }
}
