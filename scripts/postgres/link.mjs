// npm packages carry no symbolic links: this makes those that the package lists.
import { readFileSync, rmSync, symlinkSync } from "node:fs";
import { dirname, join, relative } from "node:path";

const root = process.argv[2];
for (const { source, target } of JSON.parse(readFileSync(join(root, "native/pg-symlinks.json"), "utf8"))) {
  const link = join(root, target);
  rmSync(link, { force: true });
  symlinkSync(relative(dirname(link), join(root, source)), link);
}
