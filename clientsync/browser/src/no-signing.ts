/**
 * Stands in for @nats-io/nkeys in the bundles (see build.mjs). Pages connect with bearer tokens and never sign anything,
 * while the real package brings a quarter of the bundle's size.
 */
const refuse = (): never => {
  throw new Error("this build cannot sign: pages connect with bearer tokens");
};

export const fromSeed = refuse;
export const encode = refuse;
