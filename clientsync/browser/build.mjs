// Builds the package into dist/ (and its tests into build/ with --tests). esbuild bundles, tsc writes the types.
import { spawnSync } from "node:child_process";
import { cp, mkdir, readdir, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { build } from "esbuild";

const here = new URL(".", import.meta.url);
const at = (path) => new URL(path, here).pathname;
const common = { bundle: true, format: "esm", target: "es2022", logLevel: "warning", absWorkingDir: at(".") };
const alias = { "@nats-io/nkeys": "./src/no-signing.ts" };

if (process.argv.includes("--tests")) {
  const tests = (await readdir(at("test"))).filter((name) => name.endsWith(".test.ts"));
  await rm(at("build"), { recursive: true, force: true });
  await build({
    ...common, platform: "node", packages: "external", sourcemap: "inline",
    entryPoints: tests.map((name) => `test/${name}`), outdir: "build/tests", outExtension: { ".js": ".mjs" },
  });
} else {
  await rm(at("dist"), { recursive: true, force: true });
  await mkdir(at("dist"), { recursive: true });
  const minified = { ...common, alias, minify: true, legalComments: "none", sourcemap: true };
  await build({ ...minified, entryPoints: ["src/index.ts"], outfile: "dist/index.js" });
  await build({ ...minified, entryPoints: ["src/react.ts"], outfile: "dist/react.js", external: ["react"] });
  await build({ ...minified, entryPoints: ["demo/demo.ts"], outfile: "dist/demo/demo.js" });
  await build({ ...minified, entryPoints: ["home/home.ts"], outfile: "dist/home.js" });
  await build({ ...minified, entryPoints: ["console/console.ts"], outfile: "dist/console/console.js" });
  const files = ["home/index.html", "home/home.css", "shared/theme.css", "shared/icon.svg"];
  for (const name of files) await cp(at(name), at(`dist/${name.split("/")[1]}`));
  for (const name of ["index.html", "demo.css"]) await cp(at(`demo/${name}`), at(`dist/demo/${name}`));
  for (const name of ["index.html", "console.css"]) await cp(at(`console/${name}`), at(`dist/console/${name}`));
  const compiler = createRequire(import.meta.url).resolve("typescript/lib/tsc.js");
  const done = spawnSync(process.execPath, [compiler, "-p", at("tsconfig.types.json")], { stdio: "inherit" });
  if (done.status !== 0) process.exit(done.status ?? 1);
}
