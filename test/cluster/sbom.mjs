// Writes what is in the image as CycloneDX: the modules that lie there, with what npm tells of them, and Debian's packages, of which the
// image says for each that a file of it came with it.
// sbom.mjs IMAGE.tar (an OCI archive) OUTPUT.json
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { openImage, textsOf } from './oci-archive.mjs';

const DPKG_STATUS = /^var\/lib\/dpkg\/status\.d\/[^/]+$/;
const MAX_BYTES = 512 * 1024 * 1024;
const [image, output] = process.argv.slice(2);
if (!image || !output) {
  console.error('usage: sbom.mjs IMAGE.tar OUTPUT.json');
  process.exit(2);
}
const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const { name, version } = JSON.parse(readFileSync(`${root}/package.json`, 'utf8'));

function debianPackages(status) {
  return status
    .split(/\n\n+/)
    .map((paragraph) =>
      Object.fromEntries([...paragraph.matchAll(/^([A-Z][\w-]*): (.*)$/gm)].map(([, key, value]) => [key, value])),
    )
    .filter(({ Package, Status }) => Package && Status === 'install ok installed')
    .map(({ Package, Version, Architecture, Description = '' }) => {
      const purl = `pkg:deb/debian/${encodeURIComponent(Package)}@${encodeURIComponent(Version)}?arch=${Architecture}&distro=debian-12`;
      return { type: 'library', 'bom-ref': purl, name: Package, version: Version, description: Description, purl };
    });
}

const MODULE = /^app\/(node_modules\/(?:.+\/node_modules\/)?((?:@[^/]+\/)?[^/]+))\/package\.json$/;

/** NAME@VERSION of each module in the image: what npm has installed here, which the image is made from, by where it lies. */
function modulesIn(files) {
  const installed = JSON.parse(readFileSync(`${root}/node_modules/.package-lock.json`, 'utf8')).packages;
  return new Set(
    [...files.keys()].flatMap((path) => {
      const [, folder, name] = MODULE.exec(path) ?? [];
      if (folder === undefined) return [];
      const { name: own = name, version: is } = installed[folder] ?? {};
      if (is === undefined) throw new Error(`${path} is in the image, and npm has not installed it`);
      return [`${own}@${is}`];
    }),
  );
}

const opened = openImage(image);
// All that is installed, of which some is for development: npm leaves out more than that when it is told to (`--omit dev`).
const bom = JSON.parse(
  execFileSync('npm', ['sbom', '--sbom-format', 'cyclonedx'], {
    cwd: root,
    maxBuffer: MAX_BYTES,
  }).toString(),
);
const wanted = modulesIn(opened.files);
bom.components = bom.components.filter((component) => wanted.has(component['bom-ref']));
const told = new Set(bom.components.map((component) => component['bom-ref']));
const missing = [...wanted].filter((module) => !told.has(module));
if (missing.length > 0) throw new Error(`npm does not tell of modules that are in the image: ${missing.join(', ')}`);
const statuses = [...opened.files.keys()].filter((path) => DPKG_STATUS.test(path));
const debian = debianPackages(textsOf(image, opened, statuses).join('\n\n'));
if (debian.length === 0) throw new Error(`${image} does not say what of Debian is in it`);
const own = bom.metadata.component['bom-ref'];
bom.dependencies = bom.dependencies
  .filter(({ ref }) => ref === own || told.has(ref))
  .map(({ ref, dependsOn = [] }) => ({ ref, dependsOn: dependsOn.filter((each) => told.has(each)) }));
bom.metadata.component = {
  type: 'container',
  'bom-ref': own,
  name: `holdfast.dev/${name}`,
  version,
  hashes: [{ alg: 'SHA-256', content: opened.digest.replace('sha256:', '') }],
  licenses: [{ license: { id: 'Apache-2.0' } }],
};
const modules = bom.components.length;
bom.components.push(...debian);
const refs = new Set(bom.components.map((component) => component['bom-ref']));
if (refs.size !== bom.components.length) throw new Error('two components have one bom-ref');
writeFileSync(output, `${JSON.stringify(bom, undefined, 2)}\n`);
console.log(`${output}: ${modules} modules, ${debian.length} Debian packages`);
