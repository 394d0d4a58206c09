import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { basename } from 'node:path';
import type { Client } from '../file/client.ts';
import type { File } from '../file/file.ts';
import { UsageError } from './errors.ts';
import { Progress } from './progress.ts';

/** Bytes of one request, and requests in flight: enough to fill a fast network. */
const CHUNK_BYTES = 1024 * 1024;
const IN_FLIGHT = 8;

/** Copies a file of the share to a local one, or to standard output (`-`). A local file appears when it is whole. */
export async function download(client: Client, remote: string, local: string): Promise<number> {
  const file = await client.open(remote, { access: 'read' });
  try {
    const size = file.sizeAtOpen;
    const progress = new Progress(basename(remote), size);
    try {
      if (local === '-') await toStream(file, size, progress);
      else await toFile(file, size, local, progress);
      return progress.done;
    } finally {
      progress.stop();
    }
  } finally {
    await file.close();
  }
}

async function toFile(file: File, size: number, local: string, progress: Progress): Promise<void> {
  const part = `${local}.part`;
  const target = await openLocal(part, 'w');
  try {
    await inFlight(chunks(size), async ({ at, length }) => {
      const data = await file.read(at, length);
      await target.write(data, 0, data.length, at);
      progress.add(data.length);
    });
    await target.sync();
    await target.close();
    await rename(part, local);
  } catch (error) {
    await target.close().catch(() => undefined);
    await rm(part, { force: true });
    throw error;
  }
}

async function toStream(file: File, size: number, progress: Progress): Promise<void> {
  for (const { at, length } of chunks(size)) {
    const data = await file.read(at, length);
    await new Promise<void>((resolve, reject) => {
      process.stdout.write(data, (error) => (error ? reject(error) : resolve()));
    });
    progress.add(data.length);
  }
}

/** Copies a local file, or standard input (`-`), to the share. */
export async function upload(client: Client, local: string, remote: string): Promise<number> {
  const source = local === '-' ? undefined : await openLocal(local, 'r');
  try {
    const size = source ? (await source.stat()).size : undefined;
    const file = await client.open(remote, { access: 'write', disposition: 'overwriteIf', shareAccess: 0 });
    const progress = new Progress(basename(remote), size);
    try {
      if (source) await fromFile(source, size ?? 0, file, progress);
      else await fromStdin(file, progress);
      await file.flush();
      return progress.done;
    } finally {
      progress.stop();
      await file.close();
    }
  } finally {
    await source?.close();
  }
}

async function fromFile(source: FileHandle, size: number, file: File, progress: Progress): Promise<void> {
  await inFlight(chunks(size), async ({ at, length }) => {
    const buffer = Buffer.allocUnsafe(length);
    const { bytesRead } = await source.read(buffer, 0, length, at);
    await file.write(at, buffer.subarray(0, bytesRead));
    progress.add(bytesRead);
  });
}

async function fromStdin(file: File, progress: Progress): Promise<void> {
  let at = 0;
  for await (const chunk of process.stdin as AsyncIterable<Buffer>) {
    await file.write(at, chunk);
    at += chunk.length;
    progress.add(chunk.length);
  }
}

async function openLocal(path: string, flags: string): Promise<FileHandle> {
  try {
    return await open(path, flags);
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}

function* chunks(size: number): Generator<{ at: number; length: number }> {
  for (let at = 0; at < size; at += CHUNK_BYTES) yield { at, length: Math.min(CHUNK_BYTES, size - at) };
}

/** Works on all items, IN_FLIGHT at once. Rejects with the first failure, once nothing runs any more. */
async function inFlight<T>(items: Iterable<T>, work: (item: T) => Promise<void>): Promise<void> {
  const queue = items[Symbol.iterator]();
  let failure: unknown;
  const worker = async () => {
    for (let next = queue.next(); !next.done && failure === undefined; next = queue.next()) {
      try {
        await work(next.value);
      } catch (error) {
        failure ??= error;
      }
    }
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, worker));
  if (failure !== undefined) throw failure;
}
