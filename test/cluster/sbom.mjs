// Writes what is in the image as CycloneDX: the modules, as npm tells, and Debian's packages, as the image's own dpkg knows them.
// sbom.mjs IMAGE.tar (an OCI archive) OUTPUT.json
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';

const DPKG_STATUS = 'var/lib/dpkg/status';
const MAX_BYTES = 512 * 1024 * 1024;
const [image, output] = process.argv.slice(2);
if (!image || !output) {
  console.error('usage: sbom.mjs IMAGE.tar OUTPUT.json');
  process.exit(2);
}
const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const { name, version } = JSON.parse(readFileSync(`${root}/package.json`, 'utf8'));

const fromArchive = (path) => execFileSync('tar', ['-xOf', image, path], { maxBuffer: MAX_BYTES });
const blob = (digest) => fromArchive(`blobs/${digest.replace(':', '/')}`);

/** The file as the uppermost layer that has it left it. */
function fromImage(layers, path) {
  for (const { digest } of [...layers].reverse()) {
    const layer = blob(digest);
    try {
      // GNU tar finds out by itself how a file is compressed, not what comes through a pipe.
      const compressed = layer[0] === 0x1f && layer[1] === 0x8b ? ['-z'] : [];
      return execFileSync('tar', [...compressed, '-xOf', '-', path], {
        input: layer,
        maxBuffer: MAX_BYTES,
        stdio: 'pipe',
      }).toString();
    } catch {
      // not in this layer
    }
  }
  throw new Error(`${image} has no ${path}`);
}

function debianPackages(status) {
  return status
    .split('\n\n')
    .map((paragraph) =>
      Object.fromEntries([...paragraph.matchAll(/^([A-Z][\w-]*): (.*)$/gm)].map(([, key, value]) => [key, value])),
    )
    .filter(({ Package, Status }) => Package && Status === 'install ok installed')
    .map(({ Package, Version, Architecture, Description = '' }) => {
      const purl = `pkg:deb/debian/${encodeURIComponent(Package)}@${encodeURIComponent(Version)}?arch=${Architecture}&distro=debian-12`;
      return { type: 'library', 'bom-ref': purl, name: Package, version: Version, description: Description, purl };
    });
}

const index = JSON.parse(fromArchive('index.json').toString());
const manifest = JSON.parse(blob(index.manifests[0].digest).toString());
const bom = JSON.parse(
  execFileSync('npm', ['sbom', '--omit', 'dev', '--sbom-format', 'cyclonedx'], {
    cwd: root,
    maxBuffer: MAX_BYTES,
  }).toString(),
);
const debian = debianPackages(fromImage(manifest.layers, DPKG_STATUS));
bom.metadata.component = {
  type: 'container',
  'bom-ref': bom.metadata.component['bom-ref'],
  name: `holdfast.dev/${name}`,
  version,
  hashes: [{ alg: 'SHA-256', content: index.manifests[0].digest.replace('sha256:', '') }],
  licenses: [{ license: { id: 'Apache-2.0' } }],
};
const modules = bom.components.length;
bom.components.push(...debian);
const refs = new Set(bom.components.map((component) => component['bom-ref']));
if (refs.size !== bom.components.length) throw new Error('two components have one bom-ref');
writeFileSync(output, `${JSON.stringify(bom, undefined, 2)}\n`);
console.log(`${output}: ${modules} modules, ${debian.length} Debian packages`);
