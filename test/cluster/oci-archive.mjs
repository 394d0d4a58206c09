// Reads an image that lies in an OCI archive, with GNU tar.
import { execFileSync } from 'node:child_process';

const MAX_BYTES = 1024 * 1024 * 1024;
/** A line of `tar -tv`: mode, owner, size (of a device its numbers), date, time, name, and where a link leads to. */
const LINE = /^(?<mode>\S{10}) +\S+ +[\d,]+ +\S+ +\S+ (?<name>.*?)(?: (?:->|link to) (?<target>.*))?$/;

const fromArchive = (archive, path) => execFileSync('tar', ['-xOf', archive, path], { maxBuffer: MAX_BYTES });
const blob = (archive, digest) => fromArchive(archive, `blobs/${digest.replace(':', '/')}`);

/** tar's answer about a layer. GNU tar finds out by itself how a file is compressed, not what comes through a pipe. */
function ofLayer(layer, flags, names = []) {
  const compressed = layer[0] === 0x1f && layer[1] === 0x8b ? ['-z'] : [];
  return execFileSync('tar', [...compressed, ...flags, '-f', '-', ...names], {
    input: layer,
    maxBuffer: MAX_BYTES,
    stdio: 'pipe',
  }).toString();
}

/**
 * The image's digest, and its files by their paths without a slash before them: mode as `ls -l` writes it, where a link leads to, and
 * the layer that has it. A layer that takes away what one below has is refused: no image of ours has any.
 */
export function openImage(archive) {
  const [{ digest }] = JSON.parse(fromArchive(archive, 'index.json').toString()).manifests;
  const { layers } = JSON.parse(blob(archive, digest).toString());
  const files = new Map();
  for (const { digest: layer } of layers) {
    for (const line of ofLayer(blob(archive, layer), ['-tv', '--quoting-style=literal']).split('\n')) {
      if (line === '') continue;
      const { mode, name, target } = LINE.exec(line)?.groups ?? {};
      if (name === undefined) throw new Error(`tar says what is not understood: ${line}`);
      const path = name.replace(/^\.?\//, '').replace(/\/$/, '');
      if (/(^|\/)\.wh\./.test(path)) throw new Error(`${archive}: a layer takes ${path} away`);
      if (path !== '') files.set(path, { mode, name, target, layer });
    }
  }
  return { digest, files };
}

/** The texts of some of the files, in the order of the paths. */
export function textsOf(archive, { files }, paths) {
  const layers = new Map();
  return paths.map((path) => {
    const { layer, name } = files.get(path);
    if (!layers.has(layer)) layers.set(layer, blob(archive, layer));
    return ofLayer(layers.get(layer), ['-x', '-O'], [name]);
  });
}
