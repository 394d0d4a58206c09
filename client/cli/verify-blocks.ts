import { open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Client } from '../file/client.ts';
import { readBlock } from './block.ts';
import { UsageError } from './errors.ts';
import type { HandleReport, WriterReport } from './report.ts';

export interface Verdict {
  /** Blocks that were acknowledged last in their slot, and those of them that are there, or a later one that was in flight. */
  ackedSlots: number;
  verified: number;
  /** An earlier block than the acknowledged one, none, or somebody else's. */
  lost: number;
  /** Parts of different blocks. */
  torn: number;
  /** The first few of what is wrong, for people. */
  problems: string[];
}

const MAX_PROBLEMS = 20;

/** Gives the bytes of a file of the share. */
export type ReadWhole = (path: string) => Promise<Buffer>;

export function fromDirectory(directory: string): ReadWhole {
  return (path) => readFile(join(directory, path));
}

export function fromClient(client: Client): ReadWhole {
  return async (path) => {
    const file = await client.open(path, { access: 'read' });
    try {
      return await file.read(0, file.sizeAtOpen);
    } finally {
      await file.close();
    }
  };
}

/** Compares what is on the volume with what was acknowledged. */
export async function verifyBlocks(report: WriterReport, readWhole: ReadWhole): Promise<Verdict> {
  const verdict: Verdict = { ackedSlots: 0, verified: 0, lost: 0, torn: 0, problems: [] };
  for (const handle of report.handles) {
    let content: Buffer;
    try {
      content = await readWhole(handle.path);
    } catch (error) {
      content = Buffer.alloc(0);
      if (handle.ackedBlocks > 0) note(verdict, `${handle.path} cannot be read: ${(error as Error).message}`);
    }
    verifyHandle(report, handle, content, verdict);
  }
  return verdict;
}

/** One file: each slot must hold its last acknowledged block, or a later one that was in flight when the writer ended. */
export function verifyHandle(report: WriterReport, handle: HandleReport, content: Buffer, verdict: Verdict): void {
  const unsettled = new Set(handle.unsettled.map(({ sequence, slot }) => `${slot}:${sequence}`));
  handle.lastAcked.forEach((acked, slot) => {
    const found = readBlock(content.subarray(slot * report.blockBytes, (slot + 1) * report.blockBytes));
    if (acked > 0) verdict.ackedSlots++;
    const where = `${handle.path} slot ${slot}`;
    if (found === 'torn') {
      verdict.torn++;
      note(verdict, `${where}: no whole block, block ${acked} was acknowledged`);
    } else if (found === 'empty') {
      if (acked === 0) return;
      verdict.lost++;
      note(verdict, `${where}: empty, block ${acked} was acknowledged`);
    } else {
      const own = found.writer === report.writer && found.handle === handle.index && found.slot === slot;
      const right =
        own && (found.sequence === acked || (found.sequence > acked && unsettled.has(`${slot}:${found.sequence}`)));
      if (right && acked > 0) verdict.verified++;
      else if (!right) {
        verdict.lost++;
        note(
          verdict,
          `${where}: holds block ${found.sequence} of ${found.writer}/${found.handle}/${found.slot}, block ${acked} was acknowledged`,
        );
      }
    }
  });
}

function note(verdict: Verdict, problem: string): void {
  if (verdict.problems.length < MAX_PROBLEMS) verdict.problems.push(problem);
}

/** Reads a report of `holdfast write-through`. Throws UsageError. */
export async function readReport(file: string): Promise<WriterReport> {
  try {
    const handle = await open(file, 'r');
    try {
      const report = JSON.parse(await handle.readFile('utf8')) as WriterReport;
      if (report.version !== 1 || !Array.isArray(report.handles))
        throw new Error('it is no report of holdfast write-through');
      return report;
    } finally {
      await handle.close();
    }
  } catch (error) {
    throw new UsageError(`the report ${file} cannot be read: ${(error as Error).message}`);
  }
}
